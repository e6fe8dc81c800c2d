"""Verifies a checkpoint and proofs of entries with sigstore's own code, as it verifies those of its
transparency log. Given: the checkpoint's file or address, the log's key, and C2SP tlog-proof files."""

import base64
import sys
from types import SimpleNamespace
from urllib.request import urlopen

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sigstore._internal.merkle import verify_merkle_inclusion
from sigstore._internal.rekor.checkpoint import SignedCheckpoint
from sigstore._internal.trust import Keyring
from sigstore_models.common.v1 import PublicKeyDetails


def text_of(name):
    """The text of a file, or what is served at an address."""
    if name.startswith("https://"):
        with urlopen(name) as response:
            return response.read().decode()
    with open(name, encoding="utf-8") as file:
        return file.read()


def keys(vkey):
    """The keyring of a verifier key, and the key's id."""
    _, key_id, key = vkey.split("+", 2)
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key)[1:])
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    details = PublicKeyDetails.PKIX_ED25519
    keyring = Keyring([SimpleNamespace(raw_bytes=der, key_details=details)])
    return keyring, bytes.fromhex(key_id)


def verified(text, keyring, key_id):
    """The checkpoint, once its signature has been verified."""
    signed = SignedCheckpoint.from_text(text)
    signed.signed_note.verify(keyring, key_id)
    return signed.checkpoint


def included(text, keyring, key_id):
    """The index of the entry that a proof shows."""
    head, note = text.split("\n\n", 1)
    checkpoint = verified(note, keyring, key_id)
    header, extra, index, *hashes = head.split("\n")
    assert header == "c2sp.org/tlog-proof@v1", header
    proof = SimpleNamespace(
        log_index=int(index.removeprefix("index ")),
        tree_size=checkpoint.log_size,
        root_hash=bytes.fromhex(checkpoint.log_hash),
        hashes=[base64.b64decode(one) for one in hashes],
    )
    body = base64.b64decode(extra.removeprefix("extra "))
    inner = SimpleNamespace(inclusion_proof=proof, canonicalized_body=body)
    verify_merkle_inclusion(SimpleNamespace(_inner=inner))
    return proof.log_index


def main():
    checkpoint, vkey, *proofs = sys.argv[1:]
    keyring, key_id = keys(vkey)
    print("checkpoint", verified(text_of(checkpoint), keyring, key_id).log_size)
    for name in proofs:
        print("inclusion", included(text_of(name), keyring, key_id))


main()
