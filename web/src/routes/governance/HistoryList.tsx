// What was done with a thing of the workspace, the newest first, with what was before and after.
import { i18n } from '@lingui/core'
import { useQuery } from '@tanstack/react-query'

import { governanceHistoryQuery } from '../../api/governanceQueries'
import type { Value } from '../../api/types'
import { useAllowed } from '../../app/Allowed'
import { changedFields, inWords } from '../../lib/governedChange'
import { humanised } from '../../lib/keys'
import { Failure, Loading } from '../../ui/layout'
import { Instant } from '../../ui/time'

function said(action: string): string {
  const words: Record<string, string> = {
    made: i18n.t('made'),
    written: i18n.t('changed'),
    sent_to_review: i18n.t('sent to review'),
    returned: i18n.t('returned'),
    approved: i18n.t('approved'),
    published: i18n.t('published'),
    retired: i18n.t('retired'),
    attested: i18n.t('read and attested'),
    review_due: i18n.t('review is due'),
    accepted: i18n.t('accepted'),
    acceptance_ended: i18n.t('acceptance ended'),
    closed: i18n.t('closed'),
    decided: i18n.t('decided'),
    done: i18n.t('done'),
    opened_again: i18n.t('opened again'),
    late: i18n.t('late'),
    sealed: i18n.t('sealed into the ledger'),
    superseded: i18n.t('replaced by a newer one'),
    expired: i18n.t('expired'),
    ends_soon: i18n.t('ends soon'),
    alarm: i18n.t('alarm of the clock'),
    notified: i18n.t('notice sent'),
  }
  return words[action] ?? action
}

/** What people call the parts of a thing. */
function fieldLabel(field: string): string {
  const labels: Record<string, string> = {
    state: i18n.t('State'),
    title: i18n.t('Title'),
    name: i18n.t('Name'),
    text: i18n.t('Text'),
    owner: i18n.t('Who answers for it'),
    kind: i18n.t('Kind'),
    controls: i18n.t('Controls'),
    treatment: i18n.t('Treatment'),
    likelihood: i18n.t('Likelihood'),
    impact: i18n.t('Impact'),
    inherent: i18n.t('Without measures'),
    residual: i18n.t('With measures'),
    acceptance: i18n.t('Acceptance'),
    review_at: i18n.t('Review on'),
    due_at: i18n.t('Due on'),
    expires_at: i18n.t('Until'),
    nature: i18n.t('What happened'),
    subjects: i18n.t('People concerned, about'),
    records: i18n.t('Records concerned, about'),
    consequences: i18n.t('Likely consequences'),
    measures: i18n.t('Measures'),
    contact: i18n.t('Contact'),
    risk: i18n.t('Risk'),
    not_told_ground: i18n.t('On which ground the people concerned are not told'),
    why_not_subjects: i18n.t('What that ground rests on'),
    public_notice: i18n.t('Where the public is told in their place'),
    authority: i18n.t('Authority'),
    recipients: i18n.t('Who had the data'),
    regions: i18n.t('Where it was'),
    notices: i18n.t('Notices'),
    alarms: i18n.t('Alarms at hours'),
    conclusion: i18n.t('Conclusion'),
    edition: i18n.t('Edition'),
  }
  return labels[field] ?? humanised(field)
}

/** A state by its word, anything else as it was written. */
function valueWords(field: string, value: Value): string {
  const words = { yes: i18n.t('yes'), no: i18n.t('no'), nothing: i18n.t('nothing') }
  const states: Record<string, string> = {
    draft: i18n.t('draft'),
    in_review: i18n.t('in review'),
    open: i18n.t('open'),
    told: i18n.t('told'),
    current: i18n.t('in force'),
    valid: i18n.t('valid'),
  }
  if (field === 'state' && typeof value === 'string') return states[value] ?? said(value)
  return inWords(value, words)
}

function Changed({ before, after }: { before: Value; after: Value }) {
  return (
    <dl className="facts">
      {changedFields(before, after).map((one) => (
        <div key={one.field}>
          <dt>{fieldLabel(one.field)}</dt>
          <dd>
            {before !== null && (
              <>
                <del>
                  <span className="visually-hidden">{i18n.t('Before')} </span>
                  {valueWords(one.field, one.before)}
                </del>{' '}
                →{' '}
              </>
            )}
            <ins>
              <span className="visually-hidden">{i18n.t('After')} </span>
              {valueWords(one.field, one.after)}
            </ins>
          </dd>
        </div>
      ))}
    </dl>
  )
}

export function HistoryList(props: { id: string }) {
  const may = useAllowed()
  const query = useQuery({ ...governanceHistoryQuery(props.id), enabled: may('governance.read') })
  if (!may('governance.read')) return null
  return (
    <section>
      <h3>{i18n.t('History')}</h3>
      {query.isPending && <Loading rows={2} />}
      {query.isError && <Failure error={query.error} compact />}
      <ol className="incident-notes">
        {(query.data?.items ?? []).map((change, index) => (
          <li key={index}>
            <span className="dim">
              <Instant at={change.at} age={false} /> · {change.by ?? i18n.t('Platform')}
            </span>
            <details>
              <summary>{said(change.action)}</summary>
              <Changed before={change.before} after={change.after} />
            </details>
          </li>
        ))}
      </ol>
    </section>
  )
}
