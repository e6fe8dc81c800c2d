// Words for what a device does, as it happens.
import { i18n } from '@lingui/core'

import { valueText, type TrafficItem, type TrafficKind, type TrafficView } from '../live/traffic'
import { formatBytes } from '../lib/format'

export function kindLabel(kind: TrafficKind): string {
  switch (kind) {
    case 'message':
      return i18n.t('Message came')
    case 'readings':
      return i18n.t('Values stored')
    case 'attributes':
      return i18n.t('Attributes stored')
    case 'refused':
      return i18n.t('Refused')
    case 'connected':
      return i18n.t('Connected')
    case 'disconnected':
      return i18n.t('Disconnected')
    case 'attributes_sent':
      return i18n.t('Attributes sent')
    case 'call':
      return i18n.t('Command sent')
    case 'answer':
      return i18n.t('Answer came')
  }
}

export function viewLabel(view: TrafficView): string {
  switch (view) {
    case 'all':
      return i18n.t('Everything')
    case 'values':
      return i18n.t('Values')
    case 'refused':
      return i18n.t('Refusals')
    case 'connection':
      return i18n.t('Connection')
    case 'sent':
      return i18n.t('Sent to it')
  }
}

/** The protocols keep their own names. */
export function wayLabel(way: string): string {
  switch (way) {
    case 'mqtt3':
      return 'MQTT 3.1.1'
    case 'mqtt5':
      return 'MQTT 5.0'
    case 'http':
      return 'HTTP'
    case 'websocket':
      return 'WebSocket'
    case 'write':
      return i18n.t('Bulk write')
    case 'gateway':
      return i18n.t('Through a gateway')
    default:
      return way
  }
}

export function endedByLabel(by: string | null): string {
  switch (by) {
    case 'device':
      return i18n.t('The device said goodbye')
    case 'network':
      return i18n.t('Lost without a word')
    case 'platform':
      return i18n.t('Closed by the platform')
    default:
      return i18n.t('Ended')
  }
}

export function reasonLabel(reason: string): string {
  switch (reason) {
    case 'payload':
      return i18n.t('What it sent cannot be read')
    case 'topic':
      return i18n.t('Nothing is taken on that topic')
    case 'limit':
      return i18n.t('A limit was passed')
    case 'not_allowed':
      return i18n.t('The device may not do that')
    case 'policy':
      return i18n.t('The organisation forbids this key or value')
    case 'unsupported':
      return i18n.t('Not supported here')
    case 'unavailable':
      return i18n.t('Not available now')
    default:
      return reason
  }
}

/** The code of MQTT 5 as its standard writes it. */
export function codeText(code: number): string {
  return `0x${code.toString(16).padStart(2, '0')}`
}

/** The facts of a line, in the order of how much they say. */
export function factsOf(item: TrafficItem, locale: string): string[] {
  const facts: (string | false | undefined)[] = [
    item.reason !== undefined && reasonLabel(item.reason),
    item.kind === 'disconnected' && endedByLabel(item.ended_by ?? null),
    item.code !== undefined && codeText(item.code),
    item.method,
    item.way !== undefined && wayLabel(item.way),
    item.topic,
    item.qos !== undefined && `QoS ${item.qos}`,
    item.retained === true && i18n.t('retained'),
    item.payload_bytes !== undefined && formatBytes(item.payload_bytes, locale),
    item.position !== undefined && i18n.t('byte {position}', { position: item.position }),
    item.limit,
    item.keep_alive_seconds !== undefined &&
      i18n.t('keep-alive {seconds} s', { seconds: item.keep_alive_seconds }),
    item.stored_ms !== undefined &&
      i18n.t('on disk after {milliseconds} ms', { milliseconds: item.stored_ms }),
  ]
  return facts.filter((fact): fact is string => typeof fact === 'string' && fact !== '')
}

/** How many values there are besides those that are shown. */
export function restOf(item: TrafficItem): string[] {
  const { hidden = 0, count = 0, values = [] } = item
  const more = count - values.length - hidden
  const hasValues = item.kind === 'readings' || item.kind === 'attributes'
  return [
    ...(hidden > 0
      ? [i18n.t('{count, plural, one {# not shown to you} other {# not shown to you}}', { count: hidden })]
      : []),
    ...(hasValues && more > 0
      ? [i18n.t('{count, plural, one {and # more} other {and # more}}', { count: more })]
      : []),
  ]
}

/** A line as text to take along. */
export function textOf(item: TrafficItem, locale: string): string {
  const values = (item.values ?? []).map(
    ({ key, value, quality }) =>
      `${key}=${valueText(value)}${quality === undefined ? '' : ` (${quality})`}`,
  )
  return [
    new Date(item.at_ms).toISOString(),
    kindLabel(item.kind),
    ...factsOf(item, locale),
    ...values,
    ...restOf(item),
    ...(item.detail === undefined ? [] : [item.detail]),
  ].join(' · ')
}
