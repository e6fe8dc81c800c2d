"""ThingsBoard's own Python client as a gateway with two devices behind it, a line for each word."""

import json
import os
import sys
import threading

from tb_gateway_mqtt import TBGatewayMqttClient

host, port, ca, token = sys.argv[1:5]


def say(*words):
    print(*words, flush=True)


def on_rpc(gateway, content):
    gateway.gw_send_rpc_reply(content["device"], content["data"]["id"], {"ok": content["device"]})


def on_update(content):
    say("updated", json.dumps(content, sort_keys=True))


def on_attributes(content, error):
    say("attributes", json.dumps(content, sort_keys=True))


client = TBGatewayMqttClient(host, int(port), username=token)
connected = threading.Event()
client.connect(callback=lambda *_: connected.set(), tls=True, ca_certs=ca)
assert connected.wait(60), "not connected"
client.gw_set_server_side_rpc_request_handler(on_rpc)
client.gw_connect_device("Meter A", "meter").get()
client.gw_connect_device("Meter B").get()
client.gw_subscribe_to_all_attributes(on_update)
client.gw_send_telemetry("Meter A", {"ts": 1767225600000, "values": {"power": 7}}).get()
client.gw_send_telemetry("Meter B", [{"power": 8}, {"power": 9.5}]).get()
client.gw_send_attributes("Meter A", {"serial": "M-1"}).get()
client.gw_request_client_attributes("Meter A", ["serial", "absent"], on_attributes)
say("listening")
sys.stdin.readline()
client.gw_claim("Meter A", "on the label", 600000).get()
client.gw_disconnect_device("Meter B").get()
say("gone")
sys.stdin.readline()
client.stop()
client.disconnect()
say("over")
# Threads of the client may still wait.
os._exit(0)
