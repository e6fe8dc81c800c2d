// The ledger: what it is, its newest checkpoint, its entries, each verifiable here and offline.
import { i18n } from '@lingui/core'
import { useLingui } from '@lingui/react'
import { Button } from '@mantine/core'
import { useInfiniteQuery, useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useEffect, useMemo, useState } from 'react'

import { entriesQuery, ledgerQuery, sessionQuery } from '../api/queries'
import type { Ledger, LedgerEntry } from '../api/types'
import { Allowed } from '../app/Allowed'
import { useAppSearch, usePatchSearch } from '../app/search'
import { Verification } from '../app/Verification'
import { exportAndVerify } from '../lib/commands'
import { formatBytes, formatCount, shorten } from '../lib/format'
import { DataTable, type Column } from '../ui/DataTable'
import { SealIcon } from '../ui/icons'
import { CopyField, Empty, Facts, Failure, Loading, Page, Tag } from '../ui/layout'
import { Age, Instant } from '../ui/time'
import { parseCheckpoint, toBase64, verifyStated, type Outcome } from '../verify/verify'
import { Drawer } from '../ui/overlays'
import { LedgerLookup } from './LedgerLookup'
import { LedgerEvidence } from './LedgerEvidence'

export function LedgerPage() {
  const query = useQuery(ledgerQuery)
  return (
    <Page
      title={i18n.t('Ledger')}
      lead={i18n.t(
        'A log that can only grow. Whoever holds an earlier checkpoint can prove that nothing before it was changed.',
      )}
      actions={<Link to="/ledger-mail">{i18n.t('Mail to auditors')}</Link>}
    >
      {query.isPending && <Loading />}
      {query.isError && <Failure error={query.error} retry={() => void query.refetch()} />}
      {query.data && (
        <>
          <div className="ledger-top">
            <CheckpointCard ledger={query.data} />
            <HowItWorks />
          </div>
          <Entries ledger={query.data} />
          <LedgerLookup />
          <Allowed to="ledger.evidence">
            <LedgerEvidence />
          </Allowed>
          <Offline ledger={query.data} />
        </>
      )}
    </Page>
  )
}

function signatureText(outcome: Outcome | null): string {
  switch (outcome) {
    case 'passed':
      return i18n.t('Signature checked in this browser: it holds.')
    case 'failed':
      return i18n.t('Signature checked in this browser: it does not hold.')
    case 'unavailable':
      return i18n.t('This browser cannot check Ed25519 signatures.')
    case null:
      return i18n.t('Checking the signature.')
  }
}

function signedValues(note: string) {
  try {
    const { origin, size, root } = parseCheckpoint(note)
    return { origin, size: Number(size), root: toBase64(root) }
  } catch {
    return null
  }
}

function CheckpointCard({ ledger }: { ledger: Ledger }) {
  const { i18n: lingui } = useLingui()
  const [outcome, setOutcome] = useState<Outcome | null>(null)
  const { checkpoint, vkey, archive, origin, tree_size, root_hash } = ledger
  // What is shown is what was signed.
  const signed = useMemo(() => signedValues(checkpoint), [checkpoint])
  useEffect(() => {
    let gone = false
    verifyStated(checkpoint, vkey, { origin, tree_size, root_hash })
      .catch((): Outcome => (globalThis.crypto?.subtle === undefined ? 'unavailable' : 'failed'))
      .then((result) => {
        if (!gone) setOutcome(result)
      })
    return () => {
      gone = true
    }
  }, [checkpoint, vkey, origin, tree_size, root_hash])
  return (
    <section className="checkpoint">
      <div className="checkpoint-seal">
        <SealIcon size={44} />
      </div>
      <div className="checkpoint-body">
        <span className="over">{i18n.t('Newest checkpoint')}</span>
        <p className="checkpoint-size num">
          {signed === null ? '—' : formatCount(signed.size, lingui.locale)}{' '}
          <span>{i18n.t('entries')}</span>
        </p>
        <code className="root-hash" title={signed?.root}>
          {signed?.root ?? '—'}
        </code>
        <p className="verdict" data-outcome={outcome ?? 'unavailable'} aria-live="polite">
          {signatureText(outcome)}
        </p>
        <Facts
          items={[
            [i18n.t('Sealed'), <Instant key="s" at={ledger.last_sealed_at} />],
            [
              i18n.t('Waiting for the next batch'),
              <span key="p" className="row">
                <span className="num">{formatCount(ledger.pending_records, lingui.locale)}</span>
                {ledger.held_up && <Tag tone="warn">{i18n.t('held up; nothing is lost')}</Tag>}
              </span>,
            ],
            [i18n.t('Origin'), <code key="o">{signed?.origin ?? '—'}</code>],
            [
              i18n.t('Neutral archive'),
              <span key="a" className="row">
                {archive.connected ? (
                  i18n.t('connected')
                ) : (
                  <Tag tone="warn">{i18n.t('not connected')}</Tag>
                )}
                {archive.shared_host && (
                  <Tag tone="warn">{i18n.t('same host as the platform')}</Tag>
                )}
                {!archive.subscribed && <Tag>{i18n.t('digests of evidence only')}</Tag>}
              </span>,
            ],
            [
              i18n.t('Witnesses'),
              <span key="w" className="row">
                {ledger.witness.witnessed_size === 0 ? (
                  <Tag tone="warn">{i18n.t('unwitnessed')}</Tag>
                ) : (
                  <span className="num">
                    {i18n.t('{count} entries witnessed', {
                      count: formatCount(ledger.witness.witnessed_size, lingui.locale),
                    })}
                  </span>
                )}
                {ledger.witness.witnessed_size > 0 && ledger.witness.unwitnessed > 0 && (
                  <Tag tone="warn">
                    {i18n.t('{count} after that unwitnessed', {
                      count: formatCount(ledger.witness.unwitnessed, lingui.locale),
                    })}
                  </Tag>
                )}
                {ledger.witness.contradicted && (
                  <Tag tone="warn">
                    {i18n.t('contradicted: {problem}', { problem: ledger.witness.contradicted })}
                  </Tag>
                )}
                {ledger.witness.in_log_of_logs > 0 && (
                  <Tag>
                    {i18n.t('{count} in the log of logs', {
                      count: formatCount(ledger.witness.in_log_of_logs, lingui.locale),
                    })}
                  </Tag>
                )}
                {ledger.witness.witnesses.map((witness) => (
                  <Tag key={witness.name} tone={witness.cosigned ? 'neutral' : 'warn'}>
                    {witness.name}
                  </Tag>
                ))}
              </span>,
            ],
            [
              i18n.t('Time stamp'),
              ledger.time_stamp ? (
                <Instant key="t" at={ledger.time_stamp.at} />
              ) : (
                <span key="t">{i18n.t('none of an authority')}</span>
              ),
            ],
          ]}
        />
      </div>
    </section>
  )
}

function HowItWorks() {
  const steps = [
    i18n.t('About once a second everything that became durable is put into one batch and sealed.'),
    i18n.t('The SHA-256 fingerprint of the batch becomes a leaf of a hash tree that only grows.'),
    i18n.t('A checkpoint states the size and the root of that tree and is signed.'),
    i18n.t(
      'An archive outside the platform keeps the sealed batches. One changed bit there no longer matches its leaf.',
    ),
  ]
  return (
    <section className="how">
      <h2>{i18n.t('How it works')}</h2>
      <ol>
        {steps.map((step) => (
          <li key={step}>{step}</li>
        ))}
      </ol>
      <p className="dim">
        {i18n.t(
          'It proves that records were kept unchanged since they were sealed. It cannot prove that a sensor measured correctly.',
        )}
      </p>
    </section>
  )
}

function kindLabel(kind: string): string {
  switch (kind) {
    case 'batch':
      return i18n.t('Batch of readings')
    case 'evidence':
      return i18n.t('Evidence')
    case 'edge':
      return i18n.t('Statement of an edge')
    case 'shred':
      return i18n.t('Statement: payloads were destroyed')
    case 'retention':
      return i18n.t('Statement: the audit period ended')
    default:
      return kind
  }
}

function Entries({ ledger }: { ledger: Ledger }) {
  const { i18n: lingui } = useLingui()
  const search = useAppSearch()
  const patch = usePatchSearch()
  const query = useInfiniteQuery(entriesQuery)
  const entries = useMemo(() => query.data?.pages.flatMap((page) => page.items) ?? [], [query.data])
  const newest = entries[0]?.index ?? -1
  const fresh = ledger.tree_size - 1 - newest
  const opened = entries.find((entry) => String(entry.index) === search.select)
  const columns = useMemo<Column<LedgerEntry>[]>(
    () => [
      {
        id: 'index',
        header: i18n.t('Entry'),
        width: '96px',
        align: 'end',
        cell: (e) => (
          <button
            type="button"
            className="link-button num"
            onClick={() => patch({ select: String(e.index) })}
          >
            {formatCount(e.index, lingui.locale)}
          </button>
        ),
      },
      { id: 'kind', header: i18n.t('What'), cell: (e) => kindLabel(e.kind) },
      {
        id: 'count',
        header: i18n.t('Records'),
        align: 'end',
        cell: (e) => <span className="num">{formatCount(e.count, lingui.locale)}</span>,
      },
      {
        id: 'bytes',
        header: i18n.t('Size'),
        align: 'end',
        give: 'first',
        cell: (e) => (
          <span className="num">
            {e.payload_bytes === null ? '—' : formatBytes(e.payload_bytes, lingui.locale)}
          </span>
        ),
      },
      {
        id: 'hash',
        header: i18n.t('Leaf hash'),
        give: 'second',
        cell: (e) => <code title={e.leaf_hash}>{shorten(e.leaf_hash)}</code>,
      },
      {
        id: 'sealed',
        header: i18n.t('Sealed'),
        align: 'end',
        cell: (e) => <Age at={e.sealed_at} />,
      },
    ],
    [patch, lingui.locale],
  )
  return (
    <section className="block">
      <div className="block-head">
        <h2>{i18n.t('Entries')}</h2>
        {fresh > 0 && newest >= 0 && (
          <Button size="compact-xs" variant="default" onClick={() => void query.refetch()}>
            {i18n.t('{count, plural, one {# newer entry} other {# newer entries}}', {
              count: fresh,
            })}
          </Button>
        )}
      </div>
      {query.isError && <Failure error={query.error} retry={() => void query.refetch()} />}
      {query.isPending && <Loading />}
      {query.isSuccess && entries.length === 0 && (
        <Empty icon="ledger" title={i18n.t('Nothing sealed yet')}>
          {i18n.t('The first batch follows about a second after the first reading.')}
        </Empty>
      )}
      {entries.length > 0 && (
        <DataTable
          label={i18n.t('Entries')}
          rows={entries}
          columns={columns}
          rowId={(e) => String(e.index)}
          onOpen={(e) => patch({ select: String(e.index) })}
          isSelected={(e) => String(e.index) === search.select}
        />
      )}
      {query.hasNextPage && (
        <Button
          size="xs"
          variant="default"
          loading={query.isFetchingNextPage}
          onClick={() => void query.fetchNextPage()}
        >
          {i18n.t('Older entries')}
        </Button>
      )}
      <Drawer
        opened={opened !== undefined}
        onClose={() => patch({ select: undefined })}
        position="right"
        title={i18n.t('Entry {index}', { index: opened?.index ?? 0 })}
      >
        {opened && (
          <div className="stack">
            <Facts
              items={[
                [i18n.t('What'), kindLabel(opened.kind)],
                [
                  i18n.t('Records'),
                  <span key="c" className="num">
                    {formatCount(opened.count, lingui.locale)}
                  </span>,
                ],
                [
                  i18n.t('Sequence'),
                  <span key="q" className="num">
                    {opened.first_sequence ?? '—'} – {opened.last_sequence ?? '—'}
                  </span>,
                ],
                [i18n.t('From'), <Instant key="f" at={opened.from} age={false} />],
                [i18n.t('To'), <Instant key="t" at={opened.to} age={false} />],
                [i18n.t('Sealed'), <Instant key="s" at={opened.sealed_at} />],
                [i18n.t('Batch'), <code key="b">{opened.batch_id ?? '—'}</code>],
                [i18n.t('Payload'), <code key="p">{opened.payload_sha256 ?? '—'}</code>],
                [i18n.t('Records root'), <code key="r">{opened.records_root ?? '—'}</code>],
                [i18n.t('Leaf hash'), <code key="l">{opened.leaf_hash}</code>],
              ]}
            />
            <Verification key={opened.index} index={opened.index} />
          </div>
        )}
      </Drawer>
    </section>
  )
}

function Offline({ ledger }: { ledger: Ledger }) {
  const tenant = useQuery(sessionQuery).data?.tenant.id
  return (
    <section className="block">
      <h2>{i18n.t('Verify without us')}</h2>
      <p>
        {i18n.t(
          'The command needs no account, no key of ours and no running platform. Keep the verifier key where you keep contracts: it says whose signature to expect.',
        )}
      </p>
      <CopyField label={i18n.t('Verifier key')} text={ledger.vkey} />
      {tenant !== undefined && (
        <CopyField
          multiline
          label={i18n.t('Export and verify')}
          text={exportAndVerify(tenant, ledger.vkey)}
        />
      )}
      <p className="dim">
        {i18n.t(
          'The export is made on the platform’s machine; the copy is verified wherever you like.',
        )}
      </p>
      <p className="dim">
        {i18n.t('Exit code 0: verified. 10: tampered. 11: something is missing.')}
      </p>
    </section>
  )
}
