// Streams that nobody declared yet, to be declared one by one or many at once; those that are
// declared; rules for groups; and what was declared last, with the way back.
import { i18n } from '@lingui/core'
import { Button, Checkbox } from '@mantine/core'
import { useInfiniteQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useMemo, useState } from 'react'

import { STREAM_STATES, streamPagesQuery, type StreamState } from '../../api/streamQueries'
import type { Stream, StreamCounts } from '../../api/types'
import { useAllowed } from '../../app/Allowed'
import { useAppSearch, usePatchSearch } from '../../app/search'
import { keyLabel } from '../../lib/keys'
import { DataTable, type Column } from '../../ui/DataTable'
import { Empty, Failure, Loading, Page, Tag } from '../../ui/layout'
import { ListEnd } from '../../ui/ListEnd'
import { Modal } from '../../ui/overlays'
import { Instant } from '../../ui/time'
import { Views } from '../../ui/Views'
import { declarationLabel } from '../declaration'
import { declare } from './act'
import { Declarations } from './Declarations'
import { PersonalForm } from './PersonalForm'
import { StreamRules } from './StreamRules'
import { groundLabel, subjectText } from './words'

const idOf = (stream: Stream) => `${stream.device_id}/${stream.key}`

function stateLabel(state: StreamState): string {
  switch (state) {
    case 'waiting':
      return i18n.t('Waiting')
    case 'personal':
      return declarationLabel('personal')
    case 'non_personal':
      return declarationLabel('non_personal')
  }
}

function columnsOf(
  picked: ReadonlySet<string>,
  pick: (stream: Stream, on: boolean) => void,
  declares: boolean,
): Column<Stream>[] {
  const mark: Column<Stream> = {
    id: 'pick',
    header: i18n.t('Choose'),
    bare: true,
    width: '44px',
    cell: (s) => (
      <Checkbox
        size="xs"
        aria-label={i18n.t('Choose {key} of {device}', { key: s.key, device: s.device_name })}
        checked={picked.has(idOf(s))}
        onChange={(event) => pick(s, event.currentTarget.checked)}
      />
    ),
  }
  return [
    ...(declares ? [mark] : []),
    {
      id: 'device',
      header: i18n.t('Device'),
      sort: (s) => s.device_name,
      cell: (s) => (
        <Link to="/devices/$id" params={{ id: s.device_id }} className="cell-main">
          {s.device_name}
        </Link>
      ),
    },
    {
      id: 'type',
      header: i18n.t('Type'),
      give: 'first',
      sort: (s) => s.device_type,
      cell: (s) => (s.device_type ? keyLabel(s.device_type) : <span className="dim">–</span>),
    },
    { id: 'key', header: i18n.t('Stream'), sort: (s) => s.key, cell: (s) => <code>{s.key}</code> },
    {
      id: 'ground',
      header: i18n.t('Because'),
      sort: (s) => s.ground,
      cell: (s) => (
        <>
          {s.ground === 'presumed' ? (
            <Tag tone="warn">{groundLabel(s.ground)}</Tag>
          ) : (
            <span>{groundLabel(s.ground)}</span>
          )}
          {s.subject && <span className="dim"> {subjectText(s.subject)}</span>}
        </>
      ),
    },
    {
      id: 'at',
      header: i18n.t('Declared'),
      give: 'first',
      cell: (s) =>
        s.declared_at === null ? (
          <span className="dim">–</span>
        ) : (
          <span>
            <Instant at={s.declared_at} /> <span className="dim">{s.declared_by}</span>
          </span>
        ),
    },
  ]
}

/** What is chosen, and the two buttons that declare it. */
function Chosen(props: { streams: Stream[]; onDone: () => void; onPersonal: () => void }) {
  const [busy, setBusy] = useState(false)
  const count = props.streams.length
  const open = async () => {
    setBusy(true)
    if (await declare(props.streams, 'non_personal')) props.onDone()
    setBusy(false)
  }
  return (
    <div className="row" role="group" aria-label={i18n.t('Declare what is chosen')}>
      <span className="num" role="status">
        {i18n.t('{count, plural, one {# stream chosen} other {# streams chosen}}', { count })}
      </span>
      <Button size="xs" disabled={count === 0} loading={busy} onClick={() => void open()}>
        {declarationLabel('non_personal')}
      </Button>
      <Button size="xs" variant="default" disabled={count === 0} onClick={props.onPersonal}>
        {i18n.t('Personal data…')}
      </Button>
    </div>
  )
}

function NothingHere({ state }: { state: StreamState }) {
  switch (state) {
    case 'waiting':
      return (
        <Empty icon="check" title={i18n.t('Nothing waits for you')}>
          {i18n.t(
            'Every stream is declared. A new one waits here from its first reading on: stored, sealed, and shown to privacy officers only.',
          )}
        </Empty>
      )
    case 'personal':
      return <Empty icon="user" title={i18n.t('No personal stream')} />
    case 'non_personal':
      return <Empty icon="devices" title={i18n.t('No stream is declared as not personal')} />
  }
}

export function StreamsPage() {
  const search = useAppSearch()
  const patch = usePatchSearch()
  const declares = useAllowed()('stream.declare')
  const state = STREAM_STATES.find((known) => known === search.tab) ?? 'waiting'
  const query = useInfiniteQuery(streamPagesQuery(state))
  const [picked, setPicked] = useState<ReadonlySet<string>>(new Set())
  const [naming, setNaming] = useState(false)
  const rows = useMemo(
    () => (query.data?.pages.flatMap((page) => page.items) ?? []) as Stream[],
    [query.data],
  )
  const counts = (query.data?.pages[0]?.counts ?? null) as StreamCounts | null
  const chosen = rows.filter((row) => picked.has(idOf(row)))
  const none = () => setPicked(new Set())
  const columns = useMemo(() => {
    const pick = (stream: Stream, on: boolean) =>
      setPicked((old) => {
        const next = new Set(old)
        if (on) next.add(idOf(stream))
        else next.delete(idOf(stream))
        return next
      })
    return columnsOf(picked, pick, declares)
  }, [picked, declares])
  const total = counts?.[state] ?? rows.length
  return (
    <Page
      title={i18n.t('Streams')}
      lead={i18n.t(
        'You judge what is personal data. Until then a stream is stored, sealed and shown to privacy officers only; your answer releases it whole.',
      )}
    >
      <div className="filters">
        <Views
          label={i18n.t('Which streams')}
          value={state}
          views={STREAM_STATES.map((value) => ({
            value,
            label: counts === null ? stateLabel(value) : `${stateLabel(value)} (${counts[value]})`,
          }))}
          onChange={(value) => {
            none()
            patch({ tab: value })
          }}
        />
        {declares && rows.length > 0 && (
          <>
            <Button
              size="xs"
              variant="default"
              onClick={() =>
                chosen.length === rows.length ? none() : setPicked(new Set(rows.map(idOf)))
              }
            >
              {chosen.length === rows.length ? i18n.t('Choose none') : i18n.t('Choose all shown')}
            </Button>
            <Chosen streams={chosen} onDone={none} onPersonal={() => setNaming(true)} />
          </>
        )}
      </div>
      {query.isError && <Failure error={query.error} retry={() => void query.refetch()} />}
      {query.isPending && <Loading rows={10} />}
      {query.isSuccess && rows.length === 0 && <NothingHere state={state} />}
      {rows.length > 0 && (
        <DataTable
          label={i18n.t('Streams')}
          rows={rows}
          columns={columns}
          rowId={idOf}
          isSelected={(s) => picked.has(idOf(s))}
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
      <StreamRules declares={declares} />
      <Declarations declares={declares} />
      <Modal
        opened={naming}
        onClose={() => setNaming(false)}
        title={i18n.t('Whose data is it?')}
      >
        <PersonalForm
          submit={async (subject) => {
            if (await declare(chosen, 'personal', subject)) none()
            setNaming(false)
          }}
          onCancel={() => setNaming(false)}
          named
        />
      </Modal>
    </Page>
  )
}
