// What was declared last, by whom, and the way back.
import { i18n } from '@lingui/core'
import { Button } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'

import { declarationsQuery } from '../../api/streamQueries'
import type { StreamDeclaration } from '../../api/types'
import { Failure, Loading } from '../../ui/layout'
import { Instant } from '../../ui/time'
import { declarationLabel } from '../declaration'
import { undo } from './act'
import { ruleText } from './StreamRules'

function stepText(step: StreamDeclaration['steps'][number]): string {
  if (step.device_id === null) return ruleText(step)
  return step.key === null
    ? (step.device_name ?? step.device_id)
    : `${step.device_name ?? step.device_id} ${step.key}`
}

function actText(act: StreamDeclaration): string {
  const [first] = act.steps
  if (first === undefined) return ''
  const more = act.count - 1
  return more > 0
    ? i18n.t('{first} and {more, plural, one {# more} other {# more}}', {
        first: stepText(first),
        more,
      })
    : stepText(first)
}

export function Declarations({ declares }: { declares: boolean }) {
  const query = useQuery(declarationsQuery)
  const acts = (query.data?.items ?? []) as StreamDeclaration[]
  return (
    <section className="block">
      <h2>{i18n.t('Declared last')}</h2>
      {query.isPending && <Loading rows={2} />}
      {query.isError && <Failure error={query.error} compact />}
      {query.isSuccess && acts.length === 0 && (
        <p className="hint">{i18n.t('Nothing was declared here yet.')}</p>
      )}
      <ul className="plain-list">
        {acts.map((act) => (
          <li key={act.id}>
            <span>
              <strong>{declarationLabel(act.steps[0]?.after ?? 'undeclared')}</strong>{' '}
              {actText(act)} <span className="dim">{act.by}</span>
            </span>
            <Instant at={act.at} />
            {act.undone_at !== null ? (
              <span className="dim">{i18n.t('taken back')}</span>
            ) : (
              declares && (
                <Button size="compact-xs" variant="default" onClick={() => void undo([act.id])}>
                  {i18n.t('Undo')}
                </Button>
              )
            )}
          </li>
        ))}
      </ul>
    </section>
  )
}
