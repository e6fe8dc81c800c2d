// Rules: what counts as abnormal, for which devices, and what helps then.
import { i18n } from '@lingui/core'
import { useLingui } from '@lingui/react'
import { Switch } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useMemo, useState } from 'react'

import { body, client, ifUnchanged } from '../api/client'
import { queryClient, rulesQuery } from '../api/queries'
import { useDevicesById } from '../app/useDevices'
import { useTwins } from '../app/useTwins'
import { useAllowed } from '../app/Allowed'
import type { Condition, NewRule, Rule } from '../api/types'
import { formatNumber } from '../lib/format'
import { keyLabel } from '../lib/keys'
import { SEVERITIES } from '../lib/severity'
import { formatWidth } from '../lib/time'
import { ConfirmTyped } from '../ui/dialogs'
import { DataTable, type Column } from '../ui/DataTable'
import { Icon } from '../ui/icons'
import { Empty, Failure, failureSentence, Loading, Page } from '../ui/layout'
import { SeverityMark } from '../ui/marks'
import { toast } from '../ui/toasts'
import { RuleForm } from './RuleForm'
import { Modal } from '../ui/overlays'

const SIGNS = { gt: '>', ge: '≥', lt: '<', le: '≤' } as const

export function conditionText(condition: Condition, locale: string): string {
  if (condition.kind === 'no_data') {
    return i18n.t('no {what} for {span}', {
      what: condition.key === null ? i18n.t('value') : keyLabel(condition.key),
      span: formatWidth(condition.after_seconds * 1000, locale),
    })
  }
  const limit = `${keyLabel(condition.key)} ${SIGNS[condition.op]} ${formatNumber(condition.threshold, locale)}`
  return condition.for_seconds === 0
    ? limit
    : i18n.t('{limit} for {span}', {
        limit,
        span: formatWidth(condition.for_seconds * 1000, locale),
      })
}

function useScopeText(rules: Rule[]) {
  const twins = useTwins()
  const devices = useDevicesById(rules.flatMap(({ scope }) => scope.device_id ?? []))
  return useMemo(() => {
    const names = new Map((twins.data?.items ?? []).map((t) => [t.id, t.name]))
    return (rule: Rule): string => {
      const { device_id, device_type, twin_id } = rule.scope
      if (device_id) return devices.get(device_id)?.name ?? device_id
      if (device_type) return i18n.t('type {type}', { type: device_type })
      if (twin_id) return names.get(twin_id) ?? twin_id
      return i18n.t('all devices')
    }
  }, [twins.data, devices])
}

/** A rule's name, and where its columns gave way what they said. */
function RuleName({ rule, scope }: { rule: Rule; scope: string }) {
  const { i18n: lingui } = useLingui()
  return (
    <>
      <span>{rule.name}</span>
      <span className="dim narrow-only">
        {conditionText(rule.condition, lingui.locale)} · {scope}
      </span>
      {rule.sees_closed === false && rule.condition.key !== null && (
        <span className="dim">
          {i18n.t('Watches open streams only: whoever wrote it may not read personal ones.')}
        </span>
      )}
    </>
  )
}

export function RulesPage() {
  const { i18n: lingui } = useLingui()
  const query = useQuery(rulesQuery)
  const scopeText = useScopeText((query.data?.items ?? []) as Rule[])
  const writes = useAllowed()('rule.write')
  const [editing, setEditing] = useState<Rule | 'new' | null>(null)
  const [removing, setRemoving] = useState<Rule | null>(null)
  const refresh = () => queryClient.invalidateQueries({ queryKey: ['rules'] })
  const save = async (rule: NewRule) => {
    if (editing === 'new' || editing === null) await body(client.POST('/v1/rules', { body: rule }))
    else {
      const params = { path: { id: editing.id } }
      await body(
        client.PUT('/v1/rules/{id}', { params, body: rule, ...ifUnchanged(editing) }),
      )
    }
    await refresh()
    setEditing(null)
  }
  const reload = async () => {
    const { data } = await query.refetch()
    const now = data?.items.find((rule) => editing !== 'new' && rule.id === editing?.id)
    setEditing((now as Rule | undefined) ?? null)
  }
  const columns = useMemo<Column<Rule>[]>(() => {
    const enable = async (rule: Rule, enabled: boolean) => {
      const { id, version: _, ...rest } = rule
      const params = { path: { id } }
      const changed = { ...rest, enabled }
      try {
        await body(
          client.PUT('/v1/rules/{id}', { params, body: changed, ...ifUnchanged(rule) }),
        )
      } catch (error) {
        toast(failureSentence(error))
      }
      await queryClient.invalidateQueries({ queryKey: ['rules'] })
    }
    return [
      {
        id: 'enabled',
        header: i18n.t('On'),
        width: '56px',
        sort: (r) => (r.enabled ? 0 : 1),
        cell: (r) => (
          <Switch
            size="xs"
            disabled={!writes}
            aria-label={i18n.t('Rule {name} is on', { name: r.name })}
            checked={r.enabled}
            onChange={(event) => void enable(r, event.currentTarget.checked)}
          />
        ),
      },
      {
        id: 'severity',
        header: i18n.t('Severity'),
        width: '112px',
        sort: (r) => SEVERITIES.indexOf(r.severity),
        cell: (r) => <SeverityMark severity={r.severity} label quiet={!r.enabled} />,
      },
      {
        id: 'name',
        header: i18n.t('Rule'),
        sort: (r) => r.name,
        cell: (r) =>
          writes ? (
            <button
              type="button"
              className="link-button cell-main"
              onClick={() => setEditing(r)}
            >
              <RuleName rule={r} scope={scopeText(r)} />
            </button>
          ) : (
            <span className="cell-main">
              <RuleName rule={r} scope={scopeText(r)} />
            </span>
          ),
      },
      {
        id: 'condition',
        header: i18n.t('Raises when'),
        give: 'second',
        cell: (r) => <span className="num">{conditionText(r.condition, lingui.locale)}</span>,
      },
      { id: 'scope', header: i18n.t('For'), sort: scopeText, cell: scopeText, give: 'first' },
      ...(writes
        ? [
            {
              id: 'remove',
              header: i18n.t('Delete'),
              bare: true,
              width: '44px',
              cell: (r: Rule) => (
                <button
                  type="button"
                  className="icon-button"
                  aria-label={i18n.t('Delete {name}', { name: r.name })}
                  onClick={() => setRemoving(r)}
                >
                  <Icon name="trash" size={16} />
                </button>
              ),
            },
          ]
        : []),
    ]
  }, [scopeText, lingui.locale, writes])
  const add = writes && (
    <button type="button" className="button primary" onClick={() => setEditing('new')}>
      <Icon name="plus" size={16} /> {i18n.t('Add a rule')}
    </button>
  )
  return (
    <Page
      title={i18n.t('Rules')}
      lead={i18n.t('What counts as abnormal. Few and meaningful rules keep the room calm.')}
      actions={add}
    >
      {query.isError && <Failure error={query.error} retry={() => void query.refetch()} />}
      {query.isPending && <Loading />}
      {query.data?.items.length === 0 && (
        <Empty icon="rules" title={i18n.t('No rule yet')} action={add}>
          {i18n.t(
            'A rule watches one value: above or below a limit for some time, or silent for too long.',
          )}
        </Empty>
      )}
      {query.data && query.data.items.length > 0 && (
        <DataTable
          label={i18n.t('Rules')}
          rows={query.data.items as Rule[]}
          columns={columns}
          rowId={(r) => r.id}
          {...(writes && { onOpen: setEditing })}
        />
      )}
      <Modal
        opened={editing !== null}
        onClose={() => setEditing(null)}
        size="lg"
        title={editing === 'new' ? i18n.t('Add a rule') : i18n.t('Change the rule')}
      >
        {editing !== null && (
          <RuleForm
            key={editing === 'new' ? 0 : editing.version}
            rule={editing === 'new' ? null : editing}
            onSave={save}
            onCancel={() => setEditing(null)}
            onReload={() => void reload()}
          />
        )}
      </Modal>
      <ConfirmTyped
        opened={removing !== null}
        onClose={() => setRemoving(null)}
        title={i18n.t('Delete the rule')}
        name={removing?.name ?? ''}
        action={i18n.t('Delete')}
        onConfirm={async () => {
          await client.DELETE('/v1/rules/{id}', { params: { path: { id: removing?.id ?? '' } } })
          await refresh()
        }}
      >
        {i18n.t(
          'It raises nothing any more; its active alerts return to normal. Past alerts stay.',
        )}
      </ConfirmTyped>
    </Page>
  )
}
