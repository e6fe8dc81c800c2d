"""ThingsBoard's own Python client as a device: what it says, hears and fetches, a line for each."""

import hashlib
import json
import os
import sys
import threading

from tb_device_mqtt import TBDeviceMqttClient

host, port, ca, token = sys.argv[1:5]
done = threading.Event()


def say(*words):
    print(*words, flush=True)


def on_rpc(number, content):
    client.send_rpc_reply(number, {"echo": content["params"]})


def on_limit(content, error):
    say("updated", json.dumps(content, sort_keys=True))


def on_attributes(content, error):
    say("attributes", json.dumps(content, sort_keys=True))


def on_firmware(_, data, version):
    say("firmware", version, hashlib.sha256(data).hexdigest())
    done.set()


client = TBDeviceMqttClient(host, int(port), username=token, quality_of_service=1, chunk_size=1000)
client.set_on_firmware_received_callback(on_firmware)
connected = threading.Event()
client.connect(callback=lambda *_: connected.set(), tls=True, ca_certs=ca)
assert connected.wait(60), "not connected"
client.set_server_side_rpc_request_handler(on_rpc)
client.subscribe_to_attribute("limit", on_limit)
client.send_telemetry({"temperature": 21.5}).get()
client.send_attributes({"serial": "A-7"}).get()
client.request_attributes(client_keys=["serial"], shared_keys=["limit"], callback=on_attributes)
say("listening")
# Told that there is a package, it fetches it.
if sys.stdin.readline().strip() == "update":
    client.get_firmware_update()
    assert done.wait(60), "no firmware"
client.stop()
client.disconnect()
say("over")
# Threads of the client may still wait.
os._exit(0)
