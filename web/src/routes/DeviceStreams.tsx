// The streams of a device, what counts for each, and the way to declare one with one click.
import { i18n } from '@lingui/core'
import { Button } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'

import { deviceStreamsQuery } from '../api/deviceQueries'
import type { Device, Stream } from '../api/types'
import { useAllowed } from '../app/Allowed'
import { Failure, Loading, Tag } from '../ui/layout'
import { declarationLabel } from './declaration'
import { declare } from './streams/act'
import { groundLabel, subjectText } from './streams/words'

export function DeviceStreams({ device }: { device: Device }) {
  const may = useAllowed({ device_id: device.id })
  const query = useQuery(deviceStreamsQuery(device.id))
  const items = (query.data?.items ?? []) as Stream[]
  const declares = may('stream.declare')
  return (
    <section className="block" id="streams">
      <div className="block-head">
        <h2>{i18n.t('Streams')}</h2>
        {declares && <Link to="/streams">{i18n.t('All streams and rules')}</Link>}
      </div>
      {query.isPending && <Loading rows={2} />}
      {query.isError && <Failure error={query.error} compact />}
      {query.data && items.length === 0 && (
        <p className="hint">{i18n.t('Each key that it reports becomes a stream of its own.')}</p>
      )}
      {items.length > 0 && (
        <ul className="plain-list scrolls" tabIndex={0} aria-label={i18n.t('Streams')}>
          {items.map((stream) => (
            <Row key={stream.key} stream={stream} declares={declares} />
          ))}
        </ul>
      )}
    </section>
  )
}

function Row({ stream, declares }: { stream: Stream; declares: boolean }) {
  const { key, device_id } = stream
  const say = (declaration: 'non_personal' | 'personal') =>
    void declare(
      [{ device_id, key }],
      declaration,
      declaration === 'personal' ? { kind: 'device' } : undefined,
    )
  const waits = stream.declaration === 'undeclared'
  return (
    <li>
      <span>
        <code>{key}</code> <span className="dim">{groundLabel(stream.ground)}</span>
        {stream.subject && <span className="dim"> {subjectText(stream.subject)}</span>}
      </span>
      <Tag tone={waits ? 'warn' : 'neutral'}>{declarationLabel(stream.declaration)}</Tag>
      {declares && stream.declaration !== 'non_personal' && (
        <Button
          size="compact-xs"
          variant="default"
          aria-label={i18n.t('Declare {key}: not personal', { key })}
          onClick={() => say('non_personal')}
        >
          {i18n.t('Not personal')}
        </Button>
      )}
      {declares && stream.declaration !== 'personal' && (
        <Button
          size="compact-xs"
          variant="default"
          aria-label={i18n.t('Declare {key}: personal', { key })}
          onClick={() => say('personal')}
        >
          {i18n.t('Personal')}
        </Button>
      )}
    </li>
  )
}
