"""An edge node of Sparkplug B with one device, made with pysparkplug. It says on standard output
what it hears, one JSON object a line, and does what standard input says: `data NUMBER`,
`flow NUMBER`, `gap`, `end`."""

import json
import sys

import pysparkplug as psp

HOST, PORT, CA, TOKEN, GROUP, NODE = sys.argv[1:7]
SPEED, FLOW, REBIRTH = 1, 2, "Node Control/Rebirth"


def say(**what):
    print(json.dumps(what), flush=True)


class Node:
    def __init__(self):
        self.seq = 0
        self.bd_seq = psp.Metric(psp.get_current_timestamp(), "bdSeq", psp.DataType.INT64, value=0)
        self.client = psp.Client(
            client_id=NODE, username=TOKEN, transport_config=psp.TLSConfig(ca_certs=CA)
        )
        death = psp.NDeath(timestamp=psp.get_current_timestamp(), bd_seq_metric=self.bd_seq)
        self.client.set_will(self.message(psp.MessageType.NDEATH, death))
        for kind, device in ((psp.MessageType.NCMD, None), (psp.MessageType.DCMD, "pump")):
            topic = psp.Topic(
                group_id=GROUP, message_type=kind, edge_node_id=NODE, device_id=device
            )
            self.client.subscribe(topic, psp.QoS.AT_LEAST_ONCE, self.commanded)

    def message(self, kind, payload, device=None):
        topic = psp.Topic(group_id=GROUP, message_type=kind, edge_node_id=NODE, device_id=device)
        return psp.Message(topic=topic, payload=payload, qos=psp.QoS.AT_MOST_ONCE, retain=False)

    def next_seq(self):
        seq, self.seq = self.seq, (self.seq + 1) % 256
        return seq

    def metric(self, name, alias, value, datatype=psp.DataType.DOUBLE):
        return psp.Metric(psp.get_current_timestamp(), name, datatype, value=value, alias=alias)

    def birth(self):
        self.seq = 0
        rebirth = self.metric(REBIRTH, None, False, psp.DataType.BOOLEAN)
        metrics = (self.bd_seq, rebirth, self.metric("line/speed", SPEED, 1.5))
        birth = psp.NBirth(psp.get_current_timestamp(), self.next_seq(), metrics)
        self.client.publish(self.message(psp.MessageType.NBIRTH, birth))
        metrics = (self.metric("flow", FLOW, 2.5),)
        birth = psp.DBirth(psp.get_current_timestamp(), self.next_seq(), metrics)
        self.client.publish(self.message(psp.MessageType.DBIRTH, birth, "pump"))
        say(born=True)

    def data(self, value):
        metrics = (self.metric(None, SPEED, value),)
        data = psp.NData(psp.get_current_timestamp(), self.next_seq(), metrics)
        self.client.publish(self.message(psp.MessageType.NDATA, data))

    def flow(self, value):
        metrics = (self.metric(None, FLOW, value),)
        data = psp.DData(psp.get_current_timestamp(), self.next_seq(), metrics)
        self.client.publish(self.message(psp.MessageType.DDATA, data, "pump"))

    def commanded(self, _client, message):
        for metric in message.payload.metrics:
            say(device=message.topic.device_id, name=metric.name, alias=metric.alias,
                value=metric.value)
            if metric.name == REBIRTH and metric.value:
                self.birth()

    def run(self):
        self.client.connect(HOST, port=int(PORT), callback=lambda _client: self.birth())
        for line in sys.stdin:
            word, *rest = line.split()
            if word == "data":
                self.data(float(rest[0]))
            elif word == "flow":
                self.flow(float(rest[0]))
            elif word == "gap":
                self.next_seq()
            elif word == "end":
                return


Node().run()
