"""ThingsBoard's own Python client over HTTP: what it says, hears and fetches, a line for each."""

import hashlib
import json
import os
import sys
import tempfile

from tb_device_http import TBHTTPDevice

ca, token, address = sys.argv[3:6]
os.environ["REQUESTS_CA_BUNDLE"] = ca
# It writes what it fetched into a file named as the package.
os.chdir(tempfile.mkdtemp())


def say(*words):
    print(*words, flush=True)


def on_rpc(call):
    device.send_rpc("done", {"echo": call["params"]}, call["id"])


device = TBHTTPDevice(f"https://{address}", token, "over HTTP")
assert device.connect(), "not connected"
device.send_telemetry({"temperature": 21.5}, queued=False)
device.send_attributes({"serial": "H-1"})
found = device.request_attributes(client_keys=["serial"], shared_keys=["limit"])
say("attributes", json.dumps(found, sort_keys=True))
device.subscribe("rpc", on_rpc)
say("listening")
# Told that there is a package, it fetches it.
if sys.stdin.readline().strip() == "update":
    device.get_firmware_update()
    with open("Pump", "rb") as firmware:
        say("firmware", hashlib.sha256(firmware.read()).hexdigest())
say("over")
# Threads of the client may still wait.
os._exit(0)
