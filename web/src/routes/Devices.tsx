// Devices: the list, and adding one; its token is shown once with snippets that work as they are.
import { i18n } from '@lingui/core'
import { Checkbox, Select, TextInput } from '@mantine/core'
import { useDebouncedValue } from '@mantine/hooks'
import { useInfiniteQuery } from '@tanstack/react-query'
import { Link, useNavigate } from '@tanstack/react-router'
import { useMemo, useState } from 'react'

import { devicePagesQuery } from '../api/deviceQueries'
import { useTwins } from '../app/useTwins'
import type { Device } from '../api/types'
import { Allowed } from '../app/Allowed'
import { useAppSearch, usePatchSearch } from '../app/search'
import { DataTable, type Column } from '../ui/DataTable'
import { humanised, keyLabel } from '../lib/keys'
import { Icon } from '../ui/icons'
import { ListEnd } from '../ui/ListEnd'
import { Empty, Failure, Loading, Page, Tag } from '../ui/layout'
import { Age } from '../ui/time'
import { ClaimDeviceButton } from './ClaimDevice'
import { declarationLabel } from './declaration'
import { NewDeviceForm } from './NewDevice'
import { Modal } from '../ui/overlays'

/** A search begins when nothing was typed for so long. */
const TYPING_MS = 200

function columnsOf(twins: Map<string, string>): Column<Device>[] {
  return [
    {
      id: 'name',
      header: i18n.t('Device'),
      sort: (d) => d.name,
      cell: (d) => (
        <Link to="/devices/$id" params={{ id: d.id }} className="cell-main">
          <span>{d.name}</span>
          <span className="dim">{d.type ? humanised(d.type) : '—'}</span>
        </Link>
      ),
    },
    {
      id: 'online',
      header: i18n.t('State'),
      sort: (d) => (d.online ? 1 : 0),
      width: '110px',
      cell: (d) =>
        d.online ? <span>{i18n.t('Online')}</span> : <Tag tone="stale">{i18n.t('Offline')}</Tag>,
    },
    {
      id: 'error',
      header: i18n.t('Last error'),
      give: 'first',
      sort: (d) => -Date.parse(d.last_refusal?.at ?? '1970-01-01'),
      cell: (d) =>
        d.last_refusal === null ? (
          <span className="dim">–</span>
        ) : (
          <Tag tone="warn">
            <Age at={d.last_refusal.at} />
          </Tag>
        ),
    },
    {
      id: 'seen',
      header: i18n.t('Last seen'),
      align: 'end',
      sort: (d) => -Date.parse(d.last_seen_at ?? '1970-01-01'),
      cell: (d) => <Age at={d.last_seen_at} />,
    },
    {
      id: 'keys',
      header: i18n.t('Reports'),
      give: 'second',
      cell: (d) => (
        <span className="keys">
          {d.keys.slice(0, 3).map(keyLabel).join(', ')}
          {d.keys.length > 3 && ` +${d.keys.length - 3}`}
        </span>
      ),
    },
    {
      id: 'twin',
      header: i18n.t('Building'),
      sort: (d) => twins.get(d.twin_id ?? '') ?? '',
      give: 'first',
      cell: (d) => (
        <span className="nowrap">
          {twins.get(d.twin_id ?? '') ?? <span className="dim">{i18n.t('Not placed')}</span>}
        </span>
      ),
    },
    {
      id: 'declaration',
      header: i18n.t('Declared as'),
      sort: (d) => d.declaration,
      give: 'first',
      cell: (d) =>
        d.declaration === 'undeclared' ? (
          <Tag tone="warn">{declarationLabel(d.declaration)}</Tag>
        ) : (
          <span className="nowrap">{declarationLabel(d.declaration)}</span>
        ),
    },
  ]
}

export function DevicesPage() {
  const search = useAppSearch()
  const patch = usePatchSearch()
  const navigate = useNavigate()
  const [adding, setAdding] = useState(false)
  const twins = useTwins()
  const [words] = useDebouncedValue((search.q ?? '').trim(), TYPING_MS)
  const wanted = {
    ...(words && { search: words }),
    ...(search.filter && { twin_id: search.filter }),
    ...(search.errors && { has_refusals: true }),
  }
  const query = useInfiniteQuery(devicePagesQuery(wanted))
  const isNarrowed = words !== '' || search.filter !== undefined || search.errors === true
  const columns = useMemo(
    () => columnsOf(new Map((twins.data?.items ?? []).map((t) => [t.id, t.name]))),
    [twins.data],
  )
  const rows = useMemo(
    () => (query.data?.pages.flatMap((page) => page.items) ?? []) as Device[],
    [query.data],
  )
  const total = query.data?.pages[0]?.total ?? 0
  const add = (
    <>
      <ClaimDeviceButton />
      <Allowed to="device.create">
        <button type="button" className="button primary" onClick={() => setAdding(true)}>
          <Icon name="plus" size={16} /> {i18n.t('Add a device')}
        </button>
      </Allowed>
    </>
  )
  return (
    <Page
      title={i18n.t('Devices')}
      lead={i18n.t('Everything that reports, and when it last did.')}
      actions={add}
    >
      <div className="filters">
        <TextInput
          size="xs"
          aria-label={i18n.t('Search devices')}
          placeholder={i18n.t('Search devices')}
          leftSection={<Icon name="search" size={14} />}
          value={search.q ?? ''}
          onChange={(event) => patch({ q: event.currentTarget.value || undefined })}
        />
        <Select
          size="xs"
          clearable
          aria-label={i18n.t('Building')}
          placeholder={i18n.t('Every building')}
          value={search.filter ?? null}
          onChange={(value) => patch({ filter: value ?? undefined })}
          data={(twins.data?.items ?? []).map((t) => ({ value: t.id, label: t.name }))}
        />
        <Checkbox
          size="xs"
          label={i18n.t('With errors')}
          checked={search.errors === true}
          onChange={(event) => patch({ errors: event.currentTarget.checked || undefined })}
        />
        {query.isSuccess && (
          <span className="dim num" role="status">
            {i18n.t('{count, plural, one {# device} other {# devices}}', { count: total })}
          </span>
        )}
      </div>
      {query.isError && <Failure error={query.error} retry={() => void query.refetch()} />}
      {query.isPending && <Loading rows={10} />}
      {query.isSuccess && rows.length === 0 && isNarrowed && (
        <Empty
          icon="search"
          title={i18n.t('Nothing fits')}
          action={
            <button
              type="button"
              className="button"
              onClick={() => patch({ q: undefined, filter: undefined, errors: undefined })}
            >
              {i18n.t('Show all devices')}
            </button>
          }
        >
          {search.errors && words === ''
            ? i18n.t('Nothing that a device here sent was refused since the platform started.')
            : i18n.t('No device here has these words in its name or type.')}
        </Empty>
      )}
      {query.isSuccess && rows.length === 0 && !isNarrowed && (
        <Empty icon="devices" title={i18n.t('No device yet')} action={add}>
          <Allowed to="device.create">
            {i18n.t(
              'Add one and let it publish over MQTT or HTTP. To add many at once, upload an inventory on the page Twins.',
            )}
          </Allowed>
        </Empty>
      )}
      {rows.length > 0 && (
        <DataTable
          label={i18n.t('Devices')}
          rows={rows}
          columns={columns}
          rowId={(d) => d.id}
          onOpen={(d) => void navigate({ to: '/devices/$id', params: { id: d.id } })}
          partial={rows.length < total}
        />
      )}
      <ListEnd
        shown={rows.length}
        total={total}
        hasMore={query.hasNextPage}
        busy={query.isFetchingNextPage}
        onMore={() => void query.fetchNextPage()}
      />
      <Modal
        opened={adding}
        onClose={() => setAdding(false)}
        title={i18n.t('Add a device')}
        size="lg"
        closeOnClickOutside={false}
      >
        <NewDeviceForm onDone={() => setAdding(false)} />
      </Modal>
    </Page>
  )
}
