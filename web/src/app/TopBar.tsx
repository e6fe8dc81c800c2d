// Top bar: whose building, which time, live or not, how many alerts, search, account.
import { i18n } from '@lingui/core'
import { useLingui } from '@lingui/react'
import { Button, Menu, Popover, SegmentedControl, TextInput } from '@mantine/core'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { Link, useNavigate } from '@tanstack/react-router'
import { useState } from 'react'

import { client } from '../api/client'
import { urgentAlertQuery } from '../api/alertQueries'
import type { Session } from '../api/types'
import { platformNow } from '../lib/now'
import { formatCount } from '../lib/format'
import { setPreference, usePreferences } from '../lib/preferences'
import { countActive, SEVERITIES } from '../lib/severity'
import { formatClock, PRESETS, RANGE_DEFAULT, timeZoneOf, type Preset } from '../lib/time'
import { useLiveStatus } from '../live/LiveProvider'
import { TenantSwitch } from '../routes/partners/TenantSwitch'
import { Icon } from '../ui/icons'
import { SeverityMark } from '../ui/marks'
import { useMay } from './places'
import { useAppSearch, usePatchSearch, useRange } from './search'

export function TopBar(props: { session: Session; onSearch: () => void }) {
  const { tenant, support } = props.session
  const may = useMay()
  return (
    <header className="top-bar">
      <div className="top-tenant">
        <TenantSwitch name={tenant.name} fixed={support !== null} />
      </div>
      {may.watches && (
        <>
          <RangeControl />
          <LivePill />
          <AlertCounts />
          <button type="button" className="search-button" onClick={props.onSearch}>
            <Icon name="search" size={16} />
            <span>{i18n.t('Search')}</span>
            <kbd>Ctrl K</kbd>
          </button>
        </>
      )}
      <Account session={props.session} />
    </header>
  )
}

export function presetLabel(preset: Preset): string {
  const count = Number(preset.slice(0, -1))
  switch (preset.at(-1)) {
    case 'm':
      return i18n.t('{count} min', { count })
    case 'h':
      return i18n.t('{count} h', { count })
    default:
      return i18n.t('{count} d', { count })
  }
}

function toLocalInput(atMs: number): string {
  const shifted = new Date(atMs - new Date(atMs).getTimezoneOffset() * 60_000)
  return shifted.toISOString().slice(0, 16)
}

function RangeControl() {
  const { i18n: lingui } = useLingui()
  const search = useAppSearch()
  const patch = usePatchSearch()
  const range = useRange()
  const { zone } = usePreferences()
  const [opened, setOpened] = useState(false)
  const label = range.rolling
    ? i18n.t('Last {span}', { span: presetLabel(search.range ?? RANGE_DEFAULT) })
    : `${formatClock(range.fromMs, lingui.locale, zone)} – ${formatClock(range.toMs, lingui.locale, zone)}`
  const choose = (preset: string) => {
    patch({ range: preset as Preset, from: undefined, to: undefined })
    setOpened(false)
  }
  return (
    <Popover opened={opened} onChange={setOpened} trapFocus returnFocus position="bottom-end">
      <Popover.Target>
        <button
          type="button"
          className="bar-button range-button"
          aria-haspopup="dialog"
          aria-expanded={opened}
          onClick={() => setOpened(!opened)}
        >
          <Icon name="clock" size={16} />
          <span className="num">{label}</span>
          <span className="zone">{timeZoneOf(zone)}</span>
        </button>
      </Popover.Target>
      <Popover.Dropdown aria-label={i18n.t('Time range')}>
        <div className="stack">
          <SegmentedControl
            size="xs"
            aria-label={i18n.t('Rolling range')}
            value={range.rolling ? (search.range ?? RANGE_DEFAULT) : ''}
            onChange={choose}
            data={PRESETS.map((preset) => ({ value: preset, label: presetLabel(preset) }))}
          />
          <FixedRange key={opened ? 'open' : 'closed'} onDone={() => setOpened(false)} />
          <SegmentedControl
            size="xs"
            aria-label={i18n.t('Time zone')}
            value={zone}
            onChange={(value) => setPreference('zone', value === 'UTC' ? 'UTC' : 'local')}
            data={[
              { value: 'local', label: timeZoneOf('local') },
              ...(timeZoneOf('local') === 'UTC' ? [] : [{ value: 'UTC', label: 'UTC' }]),
            ]}
          />
        </div>
      </Popover.Dropdown>
    </Popover>
  )
}

function FixedRange(props: { onDone: () => void }) {
  const range = useRange()
  const patch = usePatchSearch()
  const [from, setFrom] = useState(() => toLocalInput(range.fromMs))
  const [to, setTo] = useState(() => toLocalInput(range.toMs))
  const valid = Date.parse(from) < Date.parse(to)
  return (
    <form
      className="range-fixed"
      onSubmit={(event) => {
        event.preventDefault()
        if (!valid) return
        patch({ from: new Date(from).toISOString(), to: new Date(to).toISOString() })
        props.onDone()
      }}
    >
      <TextInput
        type="datetime-local"
        size="xs"
        label={i18n.t('From')}
        value={from}
        onChange={(event) => setFrom(event.currentTarget.value)}
      />
      <TextInput
        type="datetime-local"
        size="xs"
        label={i18n.t('To')}
        value={to}
        error={valid ? undefined : i18n.t('Must be after the start')}
        onChange={(event) => setTo(event.currentTarget.value)}
      />
      <Button type="submit" size="xs" disabled={!valid}>
        {i18n.t('Apply')}
      </Button>
    </form>
  )
}

function LivePill() {
  const status = useLiveStatus()
  const { at } = useAppSearch()
  const patch = usePatchSearch()
  const state = at !== undefined ? 'replay' : status
  const label =
    state === 'replay'
      ? i18n.t('Replay')
      : state === 'live'
        ? i18n.t('Live')
        : state === 'lost'
          ? i18n.t('Not live')
          : i18n.t('Connecting')
  return (
    <button
      type="button"
      className="bar-button live-pill"
      data-state={state}
      title={state === 'replay' ? i18n.t('Back to live') : i18n.t('Pause at this moment')}
      onClick={() => patch({ at: at === undefined ? new Date(platformNow()).toISOString() : undefined })}
    >
      {state === 'replay' ? (
        <Icon name="pause" size={14} />
      ) : (
        <span className="live-dot" aria-hidden="true" />
      )}
      <span>{label}</span>
    </button>
  )
}

function AlertCounts() {
  const { data } = useQuery(urgentAlertQuery)
  const { i18n: lingui } = useLingui()
  const counts = countActive(data?.counts ?? [])
  return (
    <Link to="/alerts" className="bar-button alert-counts">
      <span className="visually-hidden">{i18n.t('Active alerts')}</span>
      {SEVERITIES.map((severity) => (
        <span
          key={severity}
          className="alert-count"
          data-none={counts[severity] === 0 || undefined}
        >
          <SeverityMark severity={severity} quiet={counts[severity] === 0} size={15} />{' '}
          <span className="num">{formatCount(counts[severity], lingui.locale)}</span>
        </span>
      ))}
    </Link>
  )
}

function Account(props: { session: Session }) {
  const navigate = useNavigate()
  const queries = useQueryClient()
  const { user, version } = props.session
  const signOut = async () => {
    await client.DELETE('/v1/session').catch(() => undefined)
    // The page is left before what it shows is forgotten: it would ask for it once more.
    await navigate({ to: '/sign-in' })
    queries.clear()
  }
  return (
    <Menu position="bottom-end">
      <Menu.Target>
        <button type="button" className="icon-button" aria-label={i18n.t('Account')}>
          <Icon name="user" size={20} />
        </button>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>{user.name || user.email}</Menu.Label>
        <Menu.Item component={Link} to="/settings">
          {i18n.t('Settings')}
        </Menu.Item>
        <Menu.Item onClick={() => void signOut()}>{i18n.t('Sign out')}</Menu.Item>
        <Menu.Divider />
        <Menu.Label>Veritwin {version}</Menu.Label>
      </Menu.Dropdown>
    </Menu>
  )
}
