// Why may somebody do something, on what: every role they hold, with what it says and by which
// policy; also for a refusal. The question stands in the address bar.
import { i18n } from '@lingui/core'
import { Select } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useMemo } from 'react'

import { useDeviceOptions } from '../../app/useDevices'
import { useTwins } from '../../app/useTwins'
import type { Explanation, Roles } from '../../api/types'
import { useAppSearch, usePatchSearch } from '../../app/search'
import { actionLabel, areaLabel, byArea } from '../../lib/actions'
import { Icon } from '../../ui/icons'
import { Failure, Loading, TableScroll, Tag } from '../../ui/layout'
import { roleName, ScopeName, useHolders } from './names'
import { explainQuery, useMay, type Question } from './queries'
import { LONG_LIST } from './RightFields'

const WHOLE = 'whole'

/** The question in the address bar; none while it is incomplete. */
function questionOf(who?: string, action?: string, on?: string): Question | null {
  const [kind, id] = who?.split(':') ?? []
  if (!id || !action) return null
  const [thing, thingId] = on?.split(':') ?? []
  return {
    action,
    ...(kind === 'key' ? { api_key_id: id } : { user_id: id }),
    ...(thing === 'device' && thingId && { device_id: thingId }),
    ...(thing === 'twin' && thingId && { twin_id: thingId }),
  }
}

export function Why({ roles }: { roles: Roles }) {
  const may = useMay()
  const search = useAppSearch()
  const patch = usePatchSearch()
  const holders = useHolders()
  const [kind, id] = search.select?.split(':') ?? []
  const chosen = useMemo(() => (kind === 'device' && id ? [id] : []), [kind, id])
  const twins = useTwins()
  const whole = i18n.t('The whole organisation')
  const standing =
    kind === 'twin' ? twins.data?.items.find((twin) => twin.id === id)?.name : id ? '' : whole
  const devices = useDeviceOptions(chosen, {
    enabled: may('device.list'),
    ...(standing && { standing }),
  })
  const question = questionOf(search.actor, search.action, search.select)
  const things = [
    {
      group: i18n.t('Buildings'),
      items: (twins.data?.items ?? [])
        .map(({ id, name }) => ({ value: `twin:${id}`, label: name }))
        .filter(
          ({ value, label }) =>
            value === search.select ||
            label.toLowerCase().includes(devices.search.trim().toLowerCase()),
        ),
    },
    {
      group: i18n.t('Devices'),
      items: devices.options.map(({ value, label }) => ({ value: `device:${value}`, label })),
    },
  ].filter((group) => group.items.length > 0)
  return (
    <section className="block plain">
      <h2>{i18n.t('Why may somebody do something, or not?')}</h2>
      <div className="form-row">
        <Select
          label={i18n.t('Who')}
          {...LONG_LIST}
          searchable
          value={search.actor ?? null}
          onChange={(value) => patch({ actor: value ?? undefined })}
          data={[
            { group: i18n.t('People'), items: holders.people },
            { group: i18n.t('API keys'), items: holders.keys },
          ].filter((group) => group.items.length > 0)}
        />
        <Select
          label={i18n.t('Does what')}
          {...LONG_LIST}
          searchable
          value={search.action ?? null}
          onChange={(value) => patch({ action: value ?? undefined })}
          data={byArea(roles.grantable).map(([area, actions]) => ({
            group: areaLabel(area),
            items: actions.map((value) => ({ value, label: actionLabel(value) })),
          }))}
        />
        <Select
          label={i18n.t('On what')}
          {...LONG_LIST}
          {...devices.field}
          allowDeselect={false}
          value={search.select ?? WHOLE}
          onChange={(value) => patch({ select: value === WHOLE ? undefined : (value ?? undefined) })}
          data={[{ value: WHOLE, label: whole }, ...things]}
        />
      </div>
      {question === null ? (
        <p className="hint">{i18n.t('Choose who and what: the answer names every role that counts.')}</p>
      ) : (
        <Answered roles={roles} question={question} />
      )}
    </section>
  )
}

function Answered({ roles, question }: { roles: Roles; question: Question }) {
  const query = useQuery(explainQuery(question))
  if (query.isPending) return <Loading rows={3} />
  if (query.isError) return <Failure error={query.error} retry={() => void query.refetch()} />
  return <Verdict roles={roles} answer={query.data} />
}

function saysLabel(says: string): string {
  const labels: Record<string, string> = {
    permits: i18n.t('permits it'),
    denies: i18n.t('denies it'),
    permits_elsewhere: i18n.t('permits it elsewhere only'),
    silent: i18n.t('says nothing about it'),
  }
  return labels[says] ?? says
}

/** The reason in one sentence. */
function reason(answer: Explanation): string {
  const says = (what: string) => answer.rights.some((right) => right.says === what)
  if (answer.rights.length === 0) return i18n.t('No role is held, and what nobody permits is refused.')
  if (says('denies') && !answer.allowed) return i18n.t('A role denies it, and a denial wins over every role that permits it.')
  if (answer.allowed) return i18n.t('A role that counts here permits it, and none denies it.')
  if (answer.rights.some((right) => right.bounds_the_key && right.says !== 'permits') && says('permits'))
    return i18n.t('The key’s maker may not do it, and a key is never worth more than its maker.')
  if (says('permits_elsewhere')) return i18n.t('A role permits it, but not here.')
  return i18n.t('No role that is held permits it, and what nobody permits is refused.')
}

function Verdict({ roles, answer }: { roles: Roles; answer: Explanation }) {
  return (
    <div className="why" aria-live="polite">
      <p className="why-verdict" data-allowed={answer.allowed}>
        <Icon name={answer.allowed ? 'check' : 'close'} size={20} />
        <strong>
          {answer.allowed ? i18n.t('Yes, this is permitted.') : i18n.t('No, this is refused.')}
        </strong>
      </p>
      <p>
        {reason(answer)}{' '}
        {answer.hidden && i18n.t('The request is answered as if it did not exist.')}
      </p>
      {answer.rights.length > 0 && (
        <TableScroll label={i18n.t('Why may somebody do something, or not?')}>
          <table className="table">
            <thead>
              <tr>
                <th>{i18n.t('Role')}</th>
                <th>{i18n.t('Where')}</th>
                <th>{i18n.t('Says')}</th>
                <th>{i18n.t('By which policy')}</th>
              </tr>
            </thead>
            <tbody>
              {answer.rights.map((right, index) => (
                <tr key={index} data-tone={right.says === 'denies' ? 'critical' : undefined}>
                  <td>
                    {roleName(roles, right.role, right.custom_role_id)}{' '}
                    {right.bounds_the_key && <Tag>{i18n.t('of the key’s maker')}</Tag>}
                    {right.grant_id && <Tag>{i18n.t('by grant')}</Tag>}
                  </td>
                  <td>
                    <ScopeName scope={right.scope} />
                  </td>
                  <td>{saysLabel(right.says)}</td>
                  <td>
                    {right.policies.map((policy) => (
                      <code key={policy} className="why-policy">
                        {policy}
                      </code>
                    ))}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </TableScroll>
      )}
    </div>
  )
}
