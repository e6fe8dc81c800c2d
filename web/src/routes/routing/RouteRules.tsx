// Rules: which messages go to which destinations, and how it went.
import { i18n } from '@lingui/core'
import { MultiSelect, Select, Switch, TagsInput, Textarea, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { body, client, ifUnchanged } from '../../api/client'
import { routeCountsQuery, routeDestinationsQuery, routeRulesQuery } from '../../api/routingQueries'
import type { RouteCount, RouteRule } from '../../api/types'
import { useAllowed } from '../../app/Allowed'
import { useDeviceOptions } from '../../app/useDevices'
import { useTwins } from '../../app/useTwins'
import { Tag } from '../../ui/layout'
import { NamedList, type FormEnds } from '../../ui/NamedList'
import { SubmitForm } from '../../ui/SubmitForm'
import { groupsQuery } from '../access/queries'
import { attributeOf, AttributeRows, isWhole, rowOf } from './AttributeRows'

export function RouteRules() {
  const query = useQuery(routeRulesQuery)
  const write = useAllowed()('route.write')
  return (
    <NamedList<RouteRule>
      title={i18n.t('Rules')}
      icon="rules"
      query={query as never}
      none={i18n.t('None. Register a destination, then say which messages go there.')}
      facts={(one) => <RuleFacts rule={one} />}
      {...(write && {
        make: {
          title: i18n.t('New rule'),
          form: (_: RouteRule | null, { onDone }: FormEnds) => (
            <RouteRuleForm one={null} onDone={onDone} />
          ),
        },
        change: {
          title: i18n.t('Change the rule'),
          form: (one: RouteRule | null, { onDone, onReload }: FormEnds) => (
            <RouteRuleForm one={one} onDone={onDone} onReload={onReload} />
          ),
        },
        remove: {
          title: i18n.t('Delete the rule'),
          action: i18n.t('Delete'),
          text: i18n.t('Lost: what is on its way by it, and its parked messages.'),
          run: ({ id }: RouteRule) =>
            client.DELETE('/v1/route-rules/{id}', { params: { path: { id } } }),
        },
      })}
    />
  )
}

/** Why messages do not get through, in words. */
export function failureLabel(reason: string): string {
  const labels: Record<string, string> = {
    unreachable: i18n.t('not reached'),
    failing: i18n.t('the receiver has trouble'),
    refused: i18n.t('the receiver does not want it'),
    redirect: i18n.t('the receiver redirects'),
    not_allowed: i18n.t('the address may not be called'),
    full: i18n.t('too much waited'),
    looped: i18n.t('rules passed it on too often'),
  }
  return labels[reason] ?? reason
}

function matchText({ matches }: RouteRule): string {
  if (matches.kind === 'messages') return i18n.t('messages to {topic}', { topic: matches.topic })
  const what =
    matches.keys.length === 0
      ? i18n.t('readings')
      : i18n.t('readings of {keys}', { keys: matches.keys.join(', ') })
  const asked = matches.attributes.map(({ name, equals }) => `${name} = ${JSON.stringify(equals)}`)
  return [what, ...asked].join(' · ')
}

function RuleFacts({ rule }: { rule: RouteRule }) {
  const destinations = useQuery(routeDestinationsQuery)
  const counts = useQuery(routeCountsQuery)
  const name = (id: string) =>
    destinations.data?.items.find((one) => one.id === id)?.name ?? i18n.t('a destination')
  const of = (id: string) =>
    counts.data?.items.find((one) => one.rule_id === rule.id && one.destination_id === id)
  return (
    <span className="key-facts">
      <span className="dim">
        {matchText(rule)} {!rule.enabled && <Tag tone="stale">{i18n.t('Off')}</Tag>}
      </span>
      {rule.expression !== null && (
        <span className="dim">
          <code>{rule.expression}</code>
        </span>
      )}
      {rule.destination_ids.map((id) => (
        <span className="dim num" key={id}>
          → {name(id)}: <Counts count={of(id)} />
        </span>
      ))}
    </span>
  )
}

function Counts({ count }: { count: RouteCount | undefined }) {
  if (count === undefined) return <>{i18n.t('nothing yet')}</>
  const { matched, delivered, parked, dropped } = count
  return (
    <>
      {i18n.t('{delivered, number} of {matched, number} delivered', { delivered, matched })}
      {parked > 0 && `, ${i18n.t('{parked, number} parked', { parked })}`}
      {dropped > 0 && `, ${i18n.t('{dropped, number} dropped', { dropped })}`}{' '}
      {count.next_at !== null && count.last_error !== null && (
        <Tag tone="warn">{failureLabel(count.last_error)}</Tag>
      )}
    </>
  )
}

function RouteRuleForm(props: {
  one: RouteRule | null
  onDone: () => void
  onReload?: () => void
}) {
  const { one } = props
  const matched = one === null ? null : one.matches
  const known = matched?.kind === 'readings' ? matched : null
  const [name, setName] = useState(one?.name ?? '')
  const [kind, setKind] = useState<string>(matched?.kind ?? 'readings')
  const [topic, setTopic] = useState(matched?.kind === 'messages' ? matched.topic : '#')
  const [devices, setDevices] = useState<string[]>(known?.device_ids ?? [])
  const [groups, setGroups] = useState<string[]>(known?.group_ids ?? [])
  const [types, setTypes] = useState<string[]>(known?.types ?? [])
  const [twin, setTwin] = useState<string | null>(known?.twin_id ?? null)
  const [keys, setKeys] = useState<string[]>(known?.keys ?? [])
  const [attributes, setAttributes] = useState((known?.attributes ?? []).map(rowOf))
  const [expression, setExpression] = useState(one?.expression ?? '')
  const [places, setPlaces] = useState<string[]>(one?.destination_ids ?? [])
  const [enabled, setEnabled] = useState(one?.enabled ?? true)
  const { options, field } = useDeviceOptions(devices, { enabled: kind === 'readings' })
  const destinations = useQuery(routeDestinationsQuery)
  const twins = useTwins()
  const readsGroups = useAllowed()('group.read')
  const knownGroups = useQuery({ ...groupsQuery, enabled: readsGroups })
  const named = (items: { id: string; name: string }[] | undefined) =>
    (items ?? []).map(({ id, name: label }) => ({ value: id, label }))
  const send = async () => {
    const asked = attributes.map(attributeOf)
    const rest = { group_ids: groups, types, twin_id: twin, keys, attributes: asked }
    const matches =
      kind === 'messages'
        ? { kind: 'messages' as const, topic: topic.trim() }
        : { kind: 'readings' as const, device_ids: devices, ...rest }
    const rule = {
      name,
      matches,
      expression: expression.trim() === '' ? null : expression,
      destination_ids: places,
      enabled,
    }
    if (one === null) return body(client.POST('/v1/route-rules', { body: rule }))
    const params = { path: { id: one.id } }
    return body(client.PUT('/v1/route-rules/{id}', { params, body: rule, ...ifUnchanged(one) }))
  }
  return (
    <SubmitForm
      action={one === null ? i18n.t('Make the rule') : i18n.t('Change')}
      submit={send}
      onDone={props.onDone}
      incomplete={
        name.trim() === '' ||
        places.length === 0 ||
        (kind === 'readings' && !attributes.every(isWhole))
      }
      {...(props.onReload && { onReload: props.onReload })}
    >
      <TextInput
        label={i18n.t('Name')}
        data-autofocus
        maxLength={100}
        value={name}
        onChange={(event) => setName(event.currentTarget.value)}
      />
      <Select
        label={i18n.t('What leaves')}
        description={i18n.t('Only streams that are declared non-personal leave.')}
        allowDeselect={false}
        data={[
          { value: 'readings', label: i18n.t('Readings') },
          { value: 'messages', label: i18n.t('Messages to topics') },
        ]}
        value={kind}
        onChange={(value) => setKind(value ?? 'readings')}
      />
      {kind === 'messages' ? (
        <TextInput
          label={i18n.t('Topic filter')}
          description={i18n.t('As in MQTT: + stands for a level, # for all that follow.')}
          value={topic}
          onChange={(event) => setTopic(event.currentTarget.value)}
        />
      ) : (
        <>
          <MultiSelect
            label={i18n.t('Devices')}
            description={i18n.t('Empty: all of them.')}
            data={options}
            value={devices}
            onChange={setDevices}
            {...field}
          />
          {readsGroups && (
            <MultiSelect
              label={i18n.t('Groups')}
              data={named(knownGroups.data?.items)}
              value={groups}
              onChange={setGroups}
            />
          )}
          <TagsInput label={i18n.t('Types of devices')} value={types} onChange={setTypes} />
          <TagsInput label={i18n.t('Series')} value={keys} onChange={setKeys} />
          <Select
            label={i18n.t('Twin')}
            clearable
            data={named(twins.data?.items)}
            value={twin}
            onChange={setTwin}
          />
          <AttributeRows rows={attributes} onChange={setAttributes} />
        </>
      )}
      <Textarea
        label={i18n.t('Condition')}
        description={i18n.t('Empty: always. It knows values, topic, device, device_type and ts.')}
        placeholder="values.temperature > 30"
        autosize
        value={expression}
        onChange={(event) => setExpression(event.currentTarget.value)}
      />
      <MultiSelect
        label={i18n.t('Destinations')}
        data={named(destinations.data?.items)}
        value={places}
        onChange={setPlaces}
      />
      <Switch
        label={i18n.t('On')}
        checked={enabled}
        onChange={(event) => setEnabled(event.currentTarget.checked)}
      />
    </SubmitForm>
  )
}
