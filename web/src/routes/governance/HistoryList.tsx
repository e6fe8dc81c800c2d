// What was done with a thing of the workspace, the newest first, with what was before and after.
import { i18n } from '@lingui/core'
import { useQuery } from '@tanstack/react-query'

import { governanceHistoryQuery } from '../../api/governanceQueries'
import type { Value } from '../../api/types'
import { useAllowed } from '../../app/Allowed'
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

const shown = (value: Value) => JSON.stringify(value, null, 2)

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
              {change.before !== null && (
                <>
                  <p className="dim">{i18n.t('Before')}</p>
                  <pre className="governance-json">{shown(change.before)}</pre>
                </>
              )}
              <p className="dim">{i18n.t('After')}</p>
              <pre className="governance-json">{shown(change.after)}</pre>
            </details>
          </li>
        ))}
      </ol>
    </section>
  )
}
