"""Eclipse Paho's client, MQTT 3.1.1 and 5: QoS 0, 1 and 2, retained messages, a will, a session
that is resumed, a shared subscription. Fails at the first surprise."""

import queue
import sys

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

host, port, ca, speaker, listener = sys.argv[1:6]
V5 = paho.MQTTv5


class Client:
    """A client that waits for what it asked for."""

    def __init__(self, token, version, name, lasting=False, will=None):
        more = {} if version == V5 else {"clean_session": not lasting}
        api = paho.CallbackAPIVersion.VERSION2
        self.client = paho.Client(api, client_id=name, protocol=version, **more)
        self.client.username_pw_set(token)
        self.client.tls_set(ca_certs=ca)
        if will:
            self.client.will_set(will, b"gone", qos=1)
        self.connacks, self.subacks, self.messages = queue.Queue(), queue.Queue(), queue.Queue()
        self.client.on_connect = lambda _c, _u, flags, why, _p: self.connacks.put((flags, why))
        self.client.on_subscribe = lambda _c, _u, _m, reasons, _p: self.subacks.put(reasons)
        self.client.on_message = lambda _c, _u, message: self.messages.put(message)
        options = {}
        if version == V5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 600 if lasting else 0
            options = {"clean_start": not lasting, "properties": properties}
        self.client.connect(host, int(port), **options)
        self.client.loop_start()
        self.flags, reason = self.connacks.get(timeout=60)
        assert not reason.is_failure, reason

    def subscribe(self, filter_, qos):
        self.client.subscribe(filter_, qos)
        reasons = self.subacks.get(timeout=60)
        assert [reason.value for reason in reasons] == [qos], reasons

    def publish(self, topic, payload, qos=1, retain=False):
        self.client.publish(topic, payload, qos, retain).wait_for_publish(60)

    def expect(self, topic, payload, qos, retain=False):
        message = self.messages.get(timeout=60)
        found = (message.topic, message.payload, message.qos, bool(message.retain))
        assert found == (topic, payload, qos, retain), found

    def leave(self):
        self.client.disconnect()
        self.client.loop_stop()

    def vanish(self):
        """As a broken line: without DISCONNECT."""
        self.client.loop_stop()
        self.client.socket().close()


for version in (paho.MQTTv311, V5):
    base = f"paho/{version}"
    a = Client(speaker, version, f"a{version}")
    b = Client(listener, version, f"b{version}", lasting=True)
    a.publish(f"{base}/kept", b"kept", retain=True)
    b.subscribe(f"{base}/#", 2)
    b.expect(f"{base}/kept", b"kept", 1, retain=True)
    for qos in (0, 1, 2):
        a.publish(f"{base}/plain", b"%d" % qos, qos)
        b.expect(f"{base}/plain", b"%d" % qos, qos)
    will = Client(speaker, version, f"w{version}", will=f"{base}/will")
    will.vanish()
    b.expect(f"{base}/will", b"gone", 1)
    b.leave()
    a.publish(f"{base}/away", b"waits")
    b = Client(listener, version, f"b{version}", lasting=True)
    assert b.flags.session_present, "the session is resumed"
    b.expect(f"{base}/away", b"waits", 1)
    if version == V5:
        members = [Client(listener, version, f"m{number}") for number in (1, 2)]
        for member in members:
            member.subscribe("$share/group/shared/a", 1)
        for number in range(10):
            a.publish("shared/a", b"%d" % number)
        found = []
        while len(found) < 10:
            for member in members:
                try:
                    found.append(member.messages.get(timeout=0.05).payload)
                except queue.Empty:
                    pass
        assert sorted(found) == [b"%d" % number for number in range(10)], found
        for member in members:
            member.leave()
    b.leave()
    a.leave()
print("over", flush=True)
