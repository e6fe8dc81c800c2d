// What the organisation used, day by day, how near its plan's limits it is, and what each tenant
// below a partner used.
import { i18n } from '@lingui/core'
import { useLingui } from '@lingui/react'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { tenantUsageQuery, usageQuery } from '../api/usageQueries'
import type { UsageDay, UsageQuota } from '../api/types'
import { useMay } from '../app/places'
import { formatBytes, formatCount } from '../lib/format'
import { Icon } from '../ui/icons'
import { Empty, Failure, Loading, Page, TableScroll, Tag } from '../ui/layout'
import { History } from '../ui/History'
import { Views } from '../ui/Views'
import { tenantsQuery } from './partners/queries'

const DAY_MS = 86_400_000
type Figure = 'points' | 'messages' | 'bytes_in' | 'bytes_out' | 'queries' | 'stored_bytes'

function figures(): { value: Figure; label: string }[] {
  return [
    { value: 'points', label: i18n.t('Readings') },
    { value: 'messages', label: i18n.t('Messages') },
    { value: 'bytes_in', label: i18n.t('Bytes received') },
    { value: 'bytes_out', label: i18n.t('Bytes answered') },
    { value: 'queries', label: i18n.t('Questions') },
    { value: 'stored_bytes', label: i18n.t('Stored') },
  ]
}

function isBytes(figure: Figure): boolean {
  return figure.includes('bytes')
}

function quotaLabel(name: string): string {
  switch (name) {
    case 'plan_devices_max':
      return i18n.t('Devices')
    case 'plan_storage_bytes_max':
      return i18n.t('Stored')
    case 'plan_points_per_day_max':
      return i18n.t('Readings today')
    case 'plan_series_max':
      return i18n.t('Series')
    default:
      return name
  }
}

export function UsagePage() {
  const query = useQuery(usageQuery)
  const tenants = useQuery(tenantsQuery)
  const below = (tenants.data?.[0]?.kind ?? 'customer') !== 'customer'
  const may = useMay()
  return (
    <Page
      title={i18n.t('Usage')}
      lead={i18n.t('By days in UTC. Days are kept for 800 days.')}
      actions={
        <a className="button" href="/v1/usage?format=csv" download="usage.csv">
          <Icon name="download" size={16} /> {i18n.t('Export {format}', { format: 'CSV' })}
        </a>
      }
    >
      {query.isPending && <Loading rows={6} />}
      {query.isError && <Failure error={query.error} retry={() => void query.refetch()} />}
      {query.data && (
        <>
          <Quotas quotas={query.data.quotas} warned={query.data.warned_percent} />
          <Days days={query.data.days} />
        </>
      )}
      {below && may.whole('tenant.list_below') && <Below />}
    </Page>
  )
}

function Quotas(props: { quotas: UsageQuota[]; warned: number }) {
  const { i18n: lingui } = useLingui()
  if (props.quotas.length === 0) return null
  return (
    <section className="block">
      <h2>{i18n.t('Your plan')}</h2>
      <TableScroll label={i18n.t('Your plan')}>
        <table className="table">
          <thead>
            <tr>
              <th>{i18n.t('Limit')}</th>
              <th>{i18n.t('Used')}</th>
              <th>{i18n.t('Of')}</th>
              <th>{i18n.t('State')}</th>
            </tr>
          </thead>
          <tbody>
            {props.quotas.map((quota) => {
              const format = quota.name.includes('bytes') ? formatBytes : formatCount
              const near = quota.used * 100 >= quota.max * props.warned
              return (
                <tr key={quota.name}>
                  <td>{quotaLabel(quota.name)}</td>
                  <td className="num">{format(quota.used, lingui.locale)}</td>
                  <td className="num">{format(quota.max, lingui.locale)}</td>
                  <td>
                    {quota.used >= quota.max ? (
                      <Tag tone="warn">{i18n.t('Used up')}</Tag>
                    ) : near ? (
                      <Tag tone="warn">{i18n.t('Nearly used up')}</Tag>
                    ) : (
                      <Tag>{i18n.t('Room left')}</Tag>
                    )}
                  </td>
                </tr>
              )
            })}
          </tbody>
        </table>
      </TableScroll>
    </section>
  )
}

function Days(props: { days: UsageDay[] }) {
  const { i18n: lingui } = useLingui()
  const [figure, setFigure] = useState<Figure>('points')
  const days = props.days
  if (days.length === 0) {
    return (
      <Empty icon="table" title={i18n.t('Nothing used yet')}>
        {i18n.t('Figures appear here with the first reading or request.')}
      </Empty>
    )
  }
  const atMs = days.map((day) => Date.parse(`${day.day}T00:00:00Z`))
  const last = atMs[atMs.length - 1] ?? 0
  const format = isBytes(figure) ? formatBytes : formatCount
  const dayText = (ms: number) => new Date(ms).toISOString().slice(0, 10)
  return (
    <section className="block">
      <h2>{i18n.t('Day by day')}</h2>
      <Views
        label={i18n.t('Figure')}
        value={figure}
        views={figures()}
        onChange={(value) => setFigure(value as Figure)}
      />
      <History
        loading={false}
        data={{ atMs, value: days.map((day) => day[figure]) }}
        unit=""
        label={figures().find((one) => one.value === figure)?.label ?? ''}
        fromMs={(atMs[0] ?? 0) - DAY_MS}
        toMs={last + DAY_MS}
        alerts={[]}
        formatTime={dayText}
        formatTick={dayText}
        formatValue={(value) => format(Math.round(value), lingui.locale)}
      />
      <TableScroll label={i18n.t('Day by day')}>
        <table className="table" data-wide>
          <thead>
            <tr>
              <th>{i18n.t('Day')}</th>
              {figures().map(({ value, label }) => (
                <th key={value}>{label}</th>
              ))}
              <th>{i18n.t('Devices')}</th>
            </tr>
          </thead>
          <tbody>
            {[...days].reverse().map((day) => (
              <tr key={day.day}>
                <td>{day.day}</td>
                {figures().map(({ value }) => (
                  <td key={value} className="num">
                    {shown(day[value], value, lingui.locale)}
                  </td>
                ))}
                <td className="num">{shown(day.devices, 'points', lingui.locale)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </TableScroll>
    </section>
  )
}

function shown(value: number | null, figure: Figure, locale: string): string {
  if (value === null) return '—'
  return isBytes(figure) ? formatBytes(value, locale) : formatCount(value, locale)
}

function Below() {
  const { i18n: lingui } = useLingui()
  const query = useQuery(tenantUsageQuery)
  const tenants = query.data ?? []
  return (
    <section className="block">
      <h2>{i18n.t('Tenants below, the last 30 days')}</h2>
      {query.isPending && <Loading rows={3} />}
      {query.isError && <Failure error={query.error} retry={() => void query.refetch()} />}
      {query.data && tenants.length === 0 && (
        <p className="dim">{i18n.t('There is no tenant below yet.')}</p>
      )}
      {tenants.length > 0 && (
        <TableScroll label={i18n.t('Tenants below, the last 30 days')}>
          <table className="table" data-wide>
            <thead>
              <tr>
                <th>{i18n.t('Name')}</th>
                {figures().map(({ value, label }) => (
                  <th key={value}>{label}</th>
                ))}
              </tr>
            </thead>
            <tbody>
              {tenants.map((tenant) => (
                <tr key={tenant.tenant_id}>
                  <td>{tenant.name}</td>
                  {figures().map(({ value }) => (
                    <td key={value} className="num">
                      {shown(tenant[value], value, lingui.locale)}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </TableScroll>
      )}
    </section>
  )
}
