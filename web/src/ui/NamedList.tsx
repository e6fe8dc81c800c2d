// Things with a name, one a line: making one, changing it, taking it away by typing its name.
import { i18n } from '@lingui/core'
import { Button, type MantineSize } from '@mantine/core'
import { useState, type ReactNode } from 'react'

import { ConfirmTyped } from './dialogs'
import { Icon, type IconName } from './icons'
import { Failure, Loading } from './layout'
import { Modal } from './overlays'

export type Named = { id: string; name: string }

/** How the form of a thing ends: it is done, or shows what somebody else wrote meanwhile. */
export type FormEnds = { onDone: () => void; onReload: () => void }

/** The form of one thing; null for a new one. */
export type FormOf<One> = (one: One | null, form: FormEnds) => ReactNode

type Query<One> = {
  isPending: boolean
  isError: boolean
  error: unknown
  data: { items: One[] } | undefined
  refetch: () => Promise<{ data: { items: One[] } | undefined }>
}

export function NamedList<One extends Named>(props: {
  title: string
  icon: IconName
  query: Query<One>
  /** Said when there is none. */
  none: string
  /** What stands beside the name. */
  facts: (one: One) => ReactNode
  make?: { title: string; form: FormOf<One> }
  change?: { title: string; form: FormOf<One> }
  remove?: { title: string; action: string; text: string; run: (one: One) => Promise<unknown> }
  size?: MantineSize
  plain?: boolean
}) {
  const { query, make, change, remove } = props
  const [making, setMaking] = useState(false)
  const [changing, setChanging] = useState<{ one: One; read: number } | null>(null)
  const [removing, setRemoving] = useState<One | null>(null)
  const items = query.data?.items ?? []
  const done = () => {
    setMaking(false)
    setChanging(null)
    void query.refetch()
  }
  // What is being changed stays as it was read, whatever arrives, until it is read anew on purpose.
  const reload = async () => {
    const { data } = await query.refetch()
    const now = data?.items.find(({ id }) => id === changing?.one.id)
    setChanging(now && changing ? { one: now, read: changing.read + 1 } : null)
  }
  const form = { onDone: done, onReload: () => void reload() }
  return (
    <section className={props.plain ? 'block plain' : 'block'}>
      <div className="block-head">
        <h2>{props.title}</h2>
        {make && (
          <Button
            size="xs"
            variant="default"
            leftSection={<Icon name="plus" size={14} />}
            onClick={() => setMaking(true)}
          >
            {make.title}
          </Button>
        )}
      </div>
      {query.isPending && <Loading rows={2} />}
      {query.isError && <Failure error={query.error} compact />}
      {query.data && items.length === 0 && <p className="hint">{props.none}</p>}
      <ul className="plain-list">
        {items.map((one) => (
          <li key={one.id}>
            <Icon name={props.icon} size={16} />
            <span>
              {one.name} {props.facts(one)}
            </span>
            {change && (
              <Button
                size="compact-xs"
                variant="default"
                onClick={() => setChanging({ one, read: 0 })}
              >
                {i18n.t('Change')}
              </Button>
            )}
            {remove && (
              <Button size="compact-xs" variant="default" onClick={() => setRemoving(one)}>
                {remove.action}
              </Button>
            )}
          </li>
        ))}
      </ul>
      <Modal
        opened={making || changing !== null}
        onClose={() => {
          setMaking(false)
          setChanging(null)
        }}
        title={(making ? make?.title : change?.title) ?? ''}
        {...(props.size && { size: props.size })}
        closeOnClickOutside={false}
      >
        {making && make?.form(null, form)}
        {changing && <div key={changing.read}>{change?.form(changing.one, form)}</div>}
      </Modal>
      {remove && (
        <ConfirmTyped
          opened={removing !== null}
          onClose={() => setRemoving(null)}
          title={remove.title}
          name={removing?.name ?? ''}
          action={remove.action}
          onConfirm={async () => {
            if (removing) await remove.run(removing)
            await query.refetch()
          }}
        >
          {remove.text}
        </ConfirmTyped>
      )}
    </section>
  )
}
