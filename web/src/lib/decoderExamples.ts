// Decoders to begin with, each with a payload that it decodes.
import { i18n } from '@lingui/core'

export type Sample = {
  name: string
  format: string
  data: string
  topic: string
  expected: string | null
}

export type DecoderExample = {
  id: string
  label: string
  source: string
  decodesJson: boolean
  sample: Sample
}

const REGISTERS = `// Registers of two bytes each, the high byte first.
#{
  voltage: payload.u16be(0) / 10.0,
  current: payload.i32be(2) / 1000.0,
  energy: payload.u32be(6)
}
`

const CHANNELS = `// A channel, a type, and a value, again and again.
let out = #{};
let at = 0;
while at + 2 <= payload.len() {
  let channel = payload.u8(at);
  let kind = payload.u8(at + 1);
  at += 2;
  if channel == 0x01 && kind == 0x75 {
    out.battery = payload.u8(at);
    at += 1;
  } else if channel == 0x03 && kind == 0x67 {
    out.temperature = payload.i16le(at) / 10.0;
    at += 2;
  } else if channel == 0x04 && kind == 0x68 {
    out.humidity = payload.u8(at) / 2.0;
    at += 1;
  } else {
    throw "a channel that is not known";
  }
}
out
`

const FLATTENING = `// JSON of another shape becomes keys and values.
let message = payload.json();
let out = #{};
for name in message.sensors.keys() {
  out[name] = message.sensors[name].value;
}
#{ ts: message.time, values: out }
`

export function decoderExamples(): DecoderExample[] {
  const sample = (format: string, data: string, expected: string): Sample => ({
    name: i18n.t('Sample'),
    format,
    data,
    topic: '',
    expected,
  })
  return [
    {
      id: 'registers',
      label: i18n.t('A block of registers, as of Modbus'),
      source: REGISTERS,
      decodesJson: false,
      sample: sample(
        'hex',
        '08 fc 00 00 05 dc 00 01 86 a0',
        '{"voltage":230.0,"current":1.5,"energy":100000}',
      ),
    },
    {
      id: 'channels',
      label: i18n.t('Channels with types and values (TLV)'),
      source: CHANNELS,
      decodesJson: false,
      sample: sample(
        'hex',
        '01 75 64 03 67 10 01 04 68 71',
        '{"battery":100,"temperature":27.2,"humidity":56.5}',
      ),
    },
    {
      id: 'flattening',
      label: i18n.t('JSON of another shape'),
      source: FLATTENING,
      decodesJson: true,
      sample: sample(
        'text',
        '{"time":1767225600000,"sensors":{"co2":{"value":640},"t":{"value":21.5}}}',
        '{"ts":1767225600000,"values":{"co2":640,"t":21.5}}',
      ),
    },
  ]
}
