"""ThingsBoard's own Python client as a device that lets itself be claimed, and speaks on."""

import sys
import threading
import time

from tb_device_mqtt import TBDeviceMqttClient

host, port, ca, token, secret = sys.argv[1:6]
client = TBDeviceMqttClient(host, int(port), username=token, quality_of_service=1)
connected = threading.Event()
client.connect(callback=lambda *_: connected.set(), tls=True, ca_certs=ca)
assert connected.wait(60), "not connected"
client.claim(secret_key=secret, duration=600000).get()
print("asked", flush=True)
# Until it is ended from outside.
while True:
    if client.is_connected():
        client.send_telemetry({"temperature": 21.5})
    time.sleep(0.2)
