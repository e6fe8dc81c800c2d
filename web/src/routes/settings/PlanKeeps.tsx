// How long the organisation’s readings are kept and the ledger’s records can be opened, until when
// more is kept than that, and whose the key above its keys is.
import { i18n } from '@lingui/core'
import { useQuery } from '@tanstack/react-query'

import { Instant } from '../../ui/time'
import { tenantQuery, type Tenant } from '../partners/queries'

export function PlanKeeps({ tenant }: { tenant: string }) {
  const { data: own } = useQuery(tenantQuery(tenant))
  if (own === undefined) return null
  const readings = own.plan?.limits.retention_days ?? null
  const ledger = own.plan?.limits.audit_days ?? null
  return (
    <>
      {readings !== null && (
        <section className="block">
          <h2>{i18n.t('How long readings are kept')}</h2>
          <p>
            {i18n.t('Your plan keeps readings for {days, plural, one {# day} other {# days}}. Older ones are destroyed for good, by whole days.', {
              days: readings,
            })}
          </p>
          <Wait until={own.retention_wait?.until ?? null} />
        </section>
      )}
      {ledger !== null && (
        <section className="block">
          <h2>{i18n.t('How long the ledger’s records can be opened')}</h2>
          <p>
            {i18n.t('With your plan it is {days, plural, one {# day} other {# days}}. Older records are destroyed for good, by whole days. The ledger’s entries stay, and their proofs hold.', {
              days: ledger,
            })}
          </p>
          <Wait until={own.audit_wait?.until ?? null} />
        </section>
      )}
      <section className="block">
        <h2>{i18n.t('Whose keys protect your data')}</h2>
        <p>{keysText(own.key_level)}</p>
      </section>
    </>
  )
}

function keysText(level: Tenant['key_level']): string {
  switch (level) {
    case 'platform':
      return i18n.t(
        'Your data is encrypted under keys of your organisation alone. Those keys are locked with the platform’s key.',
      )
    case 'brought':
      return i18n.t(
        'Your data is encrypted under keys of your organisation alone. Those keys are locked with a key that you brought.',
      )
    case 'held':
      return i18n.t(
        'Your data is encrypted under keys of your organisation alone. Those keys are locked with a key that you hold.',
      )
  }
}

function Wait({ until }: { until: string | null }) {
  if (until === null) return null
  return (
    <div className="once">
      <p>
        {i18n.t(
          'This was shortened. Until the time below everything is kept as before, and whoever answers for you can take it back.',
        )}
      </p>
      <p>
        <Instant at={until} />
      </p>
    </div>
  )
}
