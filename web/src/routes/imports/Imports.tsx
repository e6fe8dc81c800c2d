// Imports of readings: what was imported, what was refused, and a new one.
import { i18n } from '@lingui/core'
import { useLingui } from '@lingui/react'
import { Button } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { client } from '../../api/client'
import { importRefusedQuery, importsQuery } from '../../api/importQueries'
import { queryClient } from '../../api/queries'
import type { Import } from '../../api/types'
import { Allowed } from '../../app/Allowed'
import { ConfirmTyped } from '../../ui/dialogs'
import { Icon } from '../../ui/icons'
import { Empty, Facts, Failure, Loading, Page, Tag } from '../../ui/layout'
import { Modal } from '../../ui/overlays'
import { Instant } from '../../ui/time'
import { NewImport } from './NewImport'

const refresh = () => queryClient.invalidateQueries({ queryKey: importsQuery.queryKey })

function stateLabel(state: string): string {
  if (state === 'done') return i18n.t('Whole')
  return state === 'open' ? i18n.t('Not finished') : i18n.t('Cancelled')
}

export function ImportsPage() {
  const query = useQuery(importsQuery)
  const [making, setMaking] = useState(false)
  const items = query.data?.items ?? []
  const make = (
    <Allowed to="telemetry.write">
      <Button leftSection={<Icon name="upload" size={15} />} onClick={() => setMaking(true)}>
        {i18n.t('Import a file')}
      </Button>
    </Allowed>
  )
  return (
    <Page
      title={i18n.t('Import readings')}
      lead={i18n.t('Values of before, from files, with the times that they say.')}
      actions={items.length > 0 && make}
    >
      {query.isPending && <Loading />}
      {query.isError && <Failure error={query.error} retry={() => void query.refetch()} />}
      {query.data && items.length === 0 && (
        <Empty icon="upload" title={i18n.t('Nothing was imported yet')} action={make}>
          {i18n.t(
            'Choose a CSV, Parquet, NDJSON or line protocol file, say which column means what, and look at the result before anything is stored.',
          )}
        </Empty>
      )}
      {items.map((one) => (
        <One key={one.id} one={one as Import} />
      ))}
      <Modal
        opened={making}
        onClose={() => setMaking(false)}
        title={i18n.t('Import a file')}
        closeOnClickOutside={false}
        size="xl"
      >
        <NewImport onMoved={() => void refresh()} onDone={() => setMaking(false)} />
      </Modal>
    </Page>
  )
}

function One({ one }: { one: Import }) {
  const { i18n: lingui } = useLingui()
  const [open, setOpen] = useState(false)
  const [ending, setEnding] = useState(false)
  const number = new Intl.NumberFormat(lingui.locale)
  return (
    <section className="block">
      <div className="block-head">
        <h2>
          {one.name} <Tag>{stateLabel(one.state)}</Tag>
        </h2>
        {one.refused > 0 && (
          <Button size="xs" variant="default" aria-expanded={open} onClick={() => setOpen(!open)}>
            {i18n.t('{count, plural, one {# refused row} other {# refused rows}}', {
              count: one.refused,
            })}
          </Button>
        )}
        {one.state === 'open' && (
          <Button size="xs" variant="default" onClick={() => setEnding(true)}>
            {i18n.t('End it')}
          </Button>
        )}
      </div>
      <Facts
        items={[
          [i18n.t('Rows'), number.format(one.rows)],
          [i18n.t('Values stored'), number.format(one.readings)],
          [i18n.t('Begun'), <Instant key="b" at={one.created_at} />],
          [i18n.t('Last row'), <Instant key="l" at={one.updated_at} />],
        ]}
      />
      {one.state === 'open' && (
        <p className="hint">
          {i18n.t('Choose the same file with the same settings again, and it goes on where it is.')}
        </p>
      )}
      {open && <Refused id={one.id} />}
      <ConfirmTyped
        opened={ending}
        onClose={() => setEnding(false)}
        title={i18n.t('End the import')}
        name={one.name}
        action={i18n.t('End it')}
        onConfirm={async () => {
          await client.DELETE('/v1/imports/{id}', { params: { path: { id: one.id } } })
          await refresh()
        }}
      >
        {i18n.t('What was stored stays. Lost: nothing; imported again, it goes on.')}
      </ConfirmTyped>
    </section>
  )
}

/** The first refused rows, with what is wrong. */
function Refused({ id }: { id: string }) {
  const query = useQuery(importRefusedQuery(id))
  return (
    <>
      {query.isPending && <Loading rows={2} />}
      {query.isError && <Failure error={query.error} compact />}
      <ul className="plain-list scrolls">
        {(query.data?.items ?? []).map((row) => (
          <li key={row.row}>
            <span>
              {row.column > 0
                ? i18n.t('Row {row}, column {column}', { row: row.row, column: row.column })
                : i18n.t('Row {row}', { row: row.row })}
            </span>
            <span>{row.detail}</span>
          </li>
        ))}
      </ul>
      {query.data?.next_cursor != null && (
        <p className="hint">{i18n.t('And more: the command line writes all of them to a file.')}</p>
      )}
    </>
  )
}
