// A device as an edge node of Sparkplug B, or behind one: its birth certificate, whether it is
// alive, what went wrong, and the commands to it.
import { i18n } from '@lingui/core'
import { useLingui } from '@lingui/react'
import { Button, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useMemo, useState } from 'react'

import { client } from '../api/client'
import { sparkplugQuery } from '../api/deviceQueries'
import type { Device, SparkplugMetric, SparkplugNode } from '../api/types'
import { useAllowed } from '../app/Allowed'
import { formatCount, formatValue } from '../lib/format'
import { DataTable, type Column } from '../ui/DataTable'
import { Facts, Failure, InEnglish, Tag } from '../ui/layout'
import { Modal } from '../ui/overlays'
import { SubmitForm } from '../ui/SubmitForm'
import { Age, Instant } from '../ui/time'
import { useSubmit } from '../ui/useSubmit'
import { canWrite, entered } from './sparkplugValue'

export function Sparkplug({ device }: { device: Device }) {
  const query = useQuery(sparkplugQuery(device.id))
  if (query.isError) return <Failure error={query.error} compact />
  const node = query.data?.node ?? null
  return node === null ? null : <Born device={device} node={node} />
}

function Born({ device, node }: { device: Device; node: SparkplugNode }) {
  const { i18n: lingui } = useLingui()
  const may = useAllowed({ device_id: device.id })
  const rebirth = useSubmit()
  const count = (number: number) => formatCount(number, lingui.locale)
  const ask = () =>
    client.POST('/v1/devices/{id}/sparkplug/rebirth', { params: { path: { id: device.id } } })
  return (
    <section className="block">
      <h2>Sparkplug B</h2>
      <Facts
        items={[
          [
            i18n.t('State'),
            node.online ? i18n.t('Online') : <Tag tone="stale">{i18n.t('Offline')}</Tag>,
          ],
          [i18n.t('Group'), node.group],
          [i18n.t('Edge node'), node.node],
          ...(node.device === null ? [] : [[i18n.t('Device'), node.device] as [string, string]]),
          [i18n.t('Born'), <Instant key="born" at={node.born_at} />],
          ['bdSeq', node.bd_seq === null ? '—' : String(node.bd_seq)],
          ['seq', node.seq === null ? '—' : String(node.seq)],
          [i18n.t('Births and deaths'), `${count(node.births)} / ${count(node.deaths)}`],
          [i18n.t('Gaps in its numbers'), count(node.gaps)],
          [i18n.t('New births asked for'), count(node.rebirths)],
          [
            i18n.t('Devices online'),
            `${count(node.devices_online)} / ${count(node.devices)}`,
          ],
        ]}
      />
      {node.last_error !== null && (
        <>
          <p>
            <strong>{i18n.t('What went wrong last')}</strong>{' '}
            <span className="dim">
              <Age at={node.last_error_at} />
            </span>
          </p>
          <p className="dim" lang="en">
            {node.last_error}
          </p>
          <InEnglish />
        </>
      )}
      {may('device.command') && (
        <>
          <Button
            size="xs"
            variant="default"
            loading={rebirth.busy}
            onClick={() => void rebirth.run(ask)}
          >
            {i18n.t('Ask for a new birth')}
          </Button>
          {rebirth.error !== null && <Failure error={rebirth.error} compact />}
        </>
      )}
      <h3>{i18n.t('Birth certificate')}</h3>
      <Certificate device={device} node={node} mayWrite={may('device.command')} />
      {node.metrics_hidden > 0 && (
        <p className="dim">
          {i18n.t(
            '{count, plural, one {# metric is not shown: it has no value that you may read.} other {# metrics are not shown: they have no value that you may read.}}',
            { count: node.metrics_hidden },
          )}
        </p>
      )}
    </section>
  )
}

function Certificate(props: { device: Device; node: SparkplugNode; mayWrite: boolean }) {
  const { i18n: lingui } = useLingui()
  const { device, node, mayWrite } = props
  const [writing, setWriting] = useState<SparkplugMetric | null>(null)
  const columns = useMemo<Column<SparkplugMetric>[]>(
    () => [
      {
        id: 'name',
        header: i18n.t('Metric'),
        cell: (metric) => metric.name,
        sort: (metric) => metric.name,
      },
      {
        id: 'value',
        header: i18n.t('Last value'),
        align: 'end',
        cell: (metric) => (
          <>
            {formatValue(metric.value as never, metric.unit ?? undefined, lingui.locale)}{' '}
            {metric.stale && <Tag tone="stale">{i18n.t('Stale')}</Tag>}
          </>
        ),
      },
      {
        id: 'type',
        header: i18n.t('Type'),
        cell: (metric) => <code>{metric.type}</code>,
        sort: (metric) => metric.type,
        give: 'second',
      },
      {
        id: 'alias',
        header: i18n.t('Alias'),
        align: 'end',
        cell: (metric) => (metric.alias === null ? '' : String(metric.alias)),
        give: 'first',
      },
      {
        id: 'at',
        header: i18n.t('Measured'),
        cell: (metric) => <Age at={metric.at} />,
        give: 'first',
      },
      {
        id: 'write',
        header: i18n.t('Write'),
        bare: true,
        cell: (metric) =>
          mayWrite && canWrite(metric) ? (
            <Button size="compact-xs" variant="default" onClick={() => setWriting(metric)}>
              {i18n.t('Write')}
            </Button>
          ) : null,
      },
    ],
    [lingui.locale, mayWrite],
  )
  return (
    <>
      <DataTable
        label={i18n.t('Birth certificate')}
        rows={node.metrics}
        columns={columns}
        rowId={(metric) => metric.name}
      />
      <Modal
        opened={writing !== null}
        onClose={() => setWriting(null)}
        title={i18n.t('Write a metric')}
      >
        {writing !== null && (
          <WriteForm device={device} metric={writing} onDone={() => setWriting(null)} />
        )}
      </Modal>
    </>
  )
}

function WriteForm(props: { device: Device; metric: SparkplugMetric; onDone: () => void }) {
  const { device, metric, onDone } = props
  const [text, setText] = useState('')
  const value = entered(metric.type, text)
  return (
    <SubmitForm
      action={i18n.t('Send the command')}
      incomplete={value === undefined}
      onDone={onDone}
      onCancel={onDone}
      submit={() =>
        client.POST('/v1/devices/{id}/sparkplug/commands', {
          params: { path: { id: device.id } },
          body: { metric: metric.name, value: value as never },
        })
      }
    >
      <p>
        {i18n.t(
          'The device is told at once, and the command is recorded with your name. Whether it was carried out the next value tells.',
        )}
      </p>
      <TextInput
        data-autofocus
        label={metric.name}
        description={
          metric.type === 'Boolean'
            ? i18n.t('{type}: true or false', { type: metric.type })
            : metric.type
        }
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
      />
    </SubmitForm>
  )
}
