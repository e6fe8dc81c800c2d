// "Papers": the chain behind one value, in plain words, openable anywhere by its seal.
import { i18n } from '@lingui/core'
import { useLingui } from '@lingui/react'
import { Button } from '@mantine/core'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { createContext, useContext, useMemo, useState, type ReactNode } from 'react'

import { isDestroyed, papersPollMs, papersQuery, triesOf } from '../api/queries'
import type { Papers } from '../api/types'
import { formatCount, formatScalar, shorten } from '../lib/format'
import { keyLabel } from '../lib/keys'
import { SealIcon } from '../ui/icons'
import { Failure, Loading } from '../ui/layout'
import { ConditionMark } from '../ui/marks'
import { Instant } from '../ui/time'
import { credentialLabel } from '../routes/declaration'
import { Verification } from './Verification'
import { Drawer } from '../ui/overlays'

export type PapersOf = { deviceId: string; deviceName: string; key: string; atMs: number }

const PapersContext = createContext<(of: PapersOf) => void>(() => undefined)

export function PapersProvider(props: { children: ReactNode }) {
  const [of, setOf] = useState<PapersOf | null>(null)
  const [opened, setOpened] = useState(false)
  const open = useMemo(
    () => (next: PapersOf) => {
      setOf(next)
      setOpened(true)
    },
    [],
  )
  return (
    <PapersContext value={open}>
      {props.children}
      <Drawer
        opened={opened}
        onClose={() => setOpened(false)}
        position="right"
        size="md"
        title={
          <span className="row">
            <SealIcon size={22} /> {i18n.t('Papers')}
          </span>
        }
      >
        {of && <PapersBody of={of} />}
      </Drawer>
    </PapersContext>
  )
}

export function SealButton(props: { of: PapersOf }) {
  const open = useContext(PapersContext)
  const { deviceName, key } = props.of
  return (
    <button
      type="button"
      className="icon-button seal"
      title={i18n.t('Papers')}
      aria-label={i18n.t('Papers of {key}, {device}', { key, device: deviceName })}
      onClick={() => open(props.of)}
    >
      <SealIcon />
    </button>
  )
}

function PapersBody({ of }: { of: PapersOf }) {
  const options = papersQuery(of.deviceId, of.key, new Date(of.atMs).toISOString())
  const query = useQuery(options)
  const state = useQueryClient().getQueryState(options.queryKey)
  const again = () => void query.refetch()
  if (query.isPending) return <Loading rows={5} />
  if (query.isError) {
    const retry = isDestroyed(query.error) ? {} : { retry: again }
    return <Failure error={query.error} {...retry} />
  }
  const found = query.data.leaf != null
  const ended = state !== undefined && papersPollMs(found, triesOf(state)) === false
  return (
    <>
      <Chain
        papers={query.data}
        deviceId={of.deviceId}
        name={of.deviceName}
        seriesKey={of.key}
        search={found ? 'found' : ended ? 'ended' : 'going'}
      />
      {!found && ended && (
        <Button size="xs" variant="default" loading={query.isFetching} onClick={again}>
          {i18n.t('Look again')}
        </Button>
      )}
    </>
  )
}

type Search = 'found' | 'going' | 'ended'

/** What cannot be said before the batch is found. */
function unknown(search: Search): string {
  return search === 'going'
    ? i18n.t('Known once the batch is found.')
    : i18n.t('Not known, as the batch was not found.')
}

function Link(props: { done: boolean; title: string; children: ReactNode }) {
  return (
    <li className="chain-link" data-done={props.done || undefined}>
      <h3>{props.title}</h3>
      <div>{props.children}</div>
    </li>
  )
}

function Chain(props: {
  papers: Papers
  deviceId: string
  name: string
  seriesKey: string
  search: Search
}) {
  const { papers, deviceId, name, seriesKey, search } = props
  const { i18n: lingui } = useLingui()
  const { reading, credential, durable, batch, leaf, checkpoint, key } = papers
  const count = (value: number) => formatCount(value, lingui.locale)
  return (
    <>
      <p className="papers-value num">
        {formatScalar(reading.value as never, lingui.locale)}{' '}
        <ConditionMark condition={reading.quality} />
      </p>
      <p className="dim">
        {name} · {keyLabel(seriesKey)} · <Instant at={reading.at} />
      </p>
      <ol className="chain">
        <Link done={credential !== null} title={i18n.t('Who sent it')}>
          {credential === null ? (
            search === 'found' ? (
              i18n.t('The credential is no longer on record.')
            ) : (
              unknown(search)
            )
          ) : (
            <>
              {i18n.t('{device} proved itself with {kind}.', {
                device: papers.device?.name ?? name,
                kind: credentialLabel(credential.kind),
              })}
              <code>{shorten(credential.id)}</code>
            </>
          )}
        </Link>
        <Link done={durable.position !== null} title={i18n.t('When it became durable')}>
          {durable.position === null ? (
            unknown(search)
          ) : (
            <>
              {i18n.t('Written to disk at log position {position}, before it was acknowledged:', {
                position: count(durable.position),
              })}{' '}
              <Instant at={durable.received_at} />
            </>
          )}
        </Link>
        <Link done={batch !== null} title={i18n.t('Which batch holds it')}>
          {batch === null ? (
            search === 'going' ? (
              i18n.t('Not found so far; batches are sealed about once a second.')
            ) : (
              i18n.t(
                'Not found. The search reads a bounded number of the newest entries, and only while the archive is connected: an older entry may hold it.',
              )
            )
          ) : (
            <>
              {i18n.t('Records {first} to {last}, {count} in all.', {
                first: count(batch.first_sequence),
                last: count(batch.last_sequence),
                count: count(batch.count),
              })}
              <code title={batch.payload_sha256}>SHA-256 {shorten(batch.payload_sha256)}</code>
            </>
          )}
        </Link>
        <Link done={leaf !== null} title={i18n.t('Which leaf of the ledger')}>
          {leaf === null ? (
            <>
              {unknown(search)}{' '}
              {i18n.t('Without a ledger subscription only digests of evidence are in the ledger.')}
            </>
          ) : (
            <>
              {i18n.t('Leaf {index}.', { index: count(leaf.index) })}
              <code title={leaf.leaf_hash}>{shorten(leaf.leaf_hash)}</code>
            </>
          )}
        </Link>
        <Link done={checkpoint !== null} title={i18n.t('Which checkpoint covers it')}>
          {checkpoint === null ? (
            unknown(search)
          ) : (
            <>
              {i18n.t('A signed checkpoint over {size} leaves.', {
                size: count(checkpoint.tree_size),
              })}
              <code title={checkpoint.root_hash}>{shorten(checkpoint.root_hash)}</code>
            </>
          )}
        </Link>
        <Link done={false} title={i18n.t('Who witnessed that')}>
          {i18n.t('No witness has countersigned; none is configured.')}
        </Link>
        <Link done={key !== null} title={i18n.t('Which key seals it')}>
          {key === null
            ? i18n.t('The key is not known.')
            : i18n.t('A {class} key under version {version} of your organisation’s key.', {
                class: key.dek_class,
                version: key.tenant_kek_version,
              })}
        </Link>
      </ol>
      {leaf !== null && (
        <Verification
          key={`${leaf.index} ${seriesKey} ${reading.at}`}
          index={leaf.index}
          ofReading
          reading={
            papers.record === null
              ? undefined
              : {
                  opening: papers.record,
                  shown: {
                    deviceId,
                    key: seriesKey,
                    at: reading.at,
                    value: reading.value,
                    quality: reading.quality,
                    credentialId: credential?.id ?? null,
                    receivedAt: durable.received_at,
                    position: durable.position,
                  },
                }
          }
        />
      )}
    </>
  )
}
