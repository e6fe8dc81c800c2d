// Breaches of personal data: the clock of 72 hours, what is known, notices, and drills.
import { i18n } from '@lingui/core'
import {
  Checkbox,
  Group,
  MultiSelect,
  NumberInput,
  Select,
  Textarea,
  TextInput,
} from '@mantine/core'
import { useInfiniteQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { body, client, ifUnchanged } from '../api/client'
import { breachesQuery, refreshGovernance } from '../api/governanceQueries'
import type { Breach, BreachFields } from '../api/types'
import { Allowed } from '../app/Allowed'
import { useAppSearch, usePatchSearch } from '../app/search'
import { LOCALES } from '../i18n'
import { platformNow } from '../lib/now'
import { Icon } from '../ui/icons'
import { Empty, Facts, Failure, Loading, Page, Tag } from '../ui/layout'
import { MoreRows, useRows } from '../ui/MoreRows'
import { Drawer, Modal } from '../ui/overlays'
import { SubmitForm } from '../ui/SubmitForm'
import { Age, Instant } from '../ui/time'
import {
  GROUNDS,
  PHASES,
  RISKS,
  TO,
  fieldLabels,
  groundLabel,
  owedLabel,
  phaseLabel,
  riskLabel,
  stateLabel,
  toLabel,
} from './breachWords'
import { HistoryList } from './governance/HistoryList'

const HOUR_MS = 3_600_000

function Drill() {
  return <Tag tone="simulated">{i18n.t('Drill')}</Tag>
}

function Clock({ breach }: { breach: Breach }) {
  const ends = breach.facts.ends_at
  if (breach.state !== 'open' || ends === null) return <span>{stateLabel(breach.state)}</span>
  const hours = Math.floor((Date.parse(ends) - platformNow()) / HOUR_MS)
  return (
    <Tag tone="warn">
      {hours >= 0
        ? i18n.t('{hours, plural, one {# hour left} other {# hours left}}', { hours })
        : i18n.t('the 72 hours are over')}
    </Tag>
  )
}

export function BreachesPage() {
  const query = useInfiniteQuery(breachesQuery)
  const search = useAppSearch()
  const patch = usePatchSearch()
  const [opening, setOpening] = useState(false)
  const items = useRows(query, search.select)
  const open = items.find((one) => one.id === search.select)
  const actions = (
    <>
      <a className="button" href="/v1/breach-register" download>
        {i18n.t('Register (CSV)')}
      </a>
      <Allowed to="incident.open">
        <button type="button" className="button primary" onClick={() => setOpening(true)}>
          <Icon name="plus" size={16} /> {i18n.t('Open a breach')}
        </button>
      </Allowed>
    </>
  )
  return (
    <Page
      title={i18n.t('Breaches')}
      lead={i18n.t('From the moment you are aware, the authority is told within 72 hours.')}
      actions={actions}
    >
      {query.isPending && <Loading />}
      {query.isError && <Failure error={query.error} retry={() => void query.refetch()} />}
      {query.data && items.length === 0 && (
        <Empty icon="clock" title={i18n.t('No breach')}>
          {i18n.t('Open one by hand or out of an incident. A drill is the same, and nothing of it leaves.')}
        </Empty>
      )}
      <ul className="plain-list">
        {items.map((breach) => (
          <li key={breach.id}>
            <span>
              <button
                type="button"
                className="link-button"
                onClick={() => patch({ select: breach.id })}
              >
                {breach.content.title}
              </button>
            </span>
            {breach.content.is_drill && <Drill />}
            <Clock breach={breach} />
            {breach.content.aware_at !== null && <Age at={breach.content.aware_at} />}
          </li>
        ))}
      </ul>
      <MoreRows query={query} />
      <Drawer
        opened={open !== undefined}
        onClose={() => patch({ select: undefined })}
        position="right"
        title={open?.content.is_drill ? i18n.t('Breach (drill)') : i18n.t('Breach')}
      >
        {open && <OneBreach key={`${open.id} ${open.version}`} breach={open} />}
      </Drawer>
      <Modal opened={opening} onClose={() => setOpening(false)} title={i18n.t('Open a breach')}>
        <OpenForm
          onDone={(id) => {
            setOpening(false)
            void refreshGovernance()
            patch({ select: id })
          }}
        />
      </Modal>
    </Page>
  )
}

function OneBreach({ breach }: { breach: Breach }) {
  const { content, facts } = breach
  const labels = fieldLabels()
  return (
    <div className="stack">
      <h3>
        {content.title} {content.is_drill && <Drill />}
      </h3>
      <Facts
        items={[
          [i18n.t('State'), <Clock key="state" breach={breach} />],
          [
            i18n.t('Aware since'),
            content.aware_at === null ? '–' : <Instant key="aware" at={content.aware_at} />,
          ],
          [
            i18n.t('72 hours end'),
            facts.ends_at === null ? '–' : <Instant key="ends" at={facts.ends_at} />,
          ],
          [i18n.t('Alarms at hours'), facts.alarms.join(', ') || '–'],
        ]}
      />
      {facts.missing.length > 0 && (
        <p className="hint">
          <strong>{i18n.t('A whole notice still lacks:')}</strong>{' '}
          {facts.missing.map((field) => labels[field] ?? field).join('; ')}
        </p>
      )}
      {facts.owed.length > 0 && (
        <p className="hint">
          <strong>{i18n.t('Still owed:')}</strong> {facts.owed.map(owedLabel).join('; ')}
        </p>
      )}
      <ul className="plain-list">
        {facts.notices.map((notice, index) => (
          <li key={index}>
            <span>
              {phaseLabel(notice.phase)}: {toLabel(notice.to)} ({notice.recipients})
            </span>
            {notice.is_late && <Tag tone="warn">{i18n.t('late')}</Tag>}
            {notice.is_drill && <Drill />}
            <Instant at={notice.at} age={false} />
          </li>
        ))}
      </ul>
      {breach.state !== 'closed' && (
        <>
          <Allowed to="incident.update">
            <KnownForm breach={breach} />
          </Allowed>
          <Allowed to="breach.notify">
            <NoticeForm breach={breach} />
          </Allowed>
          <Allowed to="incident.update">
            <CloseForm breach={breach} />
          </Allowed>
        </>
      )}
      <HistoryList id={breach.id} />
    </div>
  )
}

const LONG = ['nature', 'consequences', 'measures', 'risk_reason', 'late_reason'] as const
const SHORT = ['contact', 'authority', 'authority_email'] as const
const NUMBERS = ['subjects', 'records'] as const
const PLACES = ['recipients', 'regions'] as const

/** What the registers name. */
function placesOf(breach: Breach, field: (typeof PLACES)[number]): string[] {
  return field === 'recipients' ? breach.facts.known_recipients : breach.facts.known_regions
}

function KnownForm({ breach }: { breach: Breach }) {
  const [known, setKnown] = useState<BreachFields>(breach.content)
  const labels = fieldLabels()
  const submit = async () => {
    const params = { path: { id: breach.id } }
    await client.PUT('/v1/breaches/{id}', { params, body: known, ...ifUnchanged(breach) })
    await refreshGovernance()
  }
  return (
    <SubmitForm action={i18n.t('Save what is known')} submit={submit}>
      {LONG.map((field) => (
        <Textarea
          key={field}
          label={labels[field]}
          autosize
          minRows={2}
          maxLength={4000}
          value={known[field]}
          onChange={(event) => setKnown({ ...known, [field]: event.currentTarget.value })}
        />
      ))}
      {NUMBERS.map((field) => (
        <NumberInput
          key={field}
          label={labels[field]}
          min={0}
          allowDecimal={false}
          value={known[field] ?? ''}
          onChange={(value) => setKnown({ ...known, [field]: value === '' ? null : Number(value) })}
        />
      ))}
      {SHORT.map((field) => (
        <TextInput
          key={field}
          label={labels[field]}
          maxLength={200}
          value={known[field]}
          onChange={(event) => setKnown({ ...known, [field]: event.currentTarget.value })}
        />
      ))}
      {PLACES.map((field) => (
        <MultiSelect
          key={field}
          label={labels[field]}
          description={i18n.t('As your registers name them')}
          searchable
          data={[...new Set([...placesOf(breach, field), ...known[field]])]}
          value={known[field]}
          onChange={(value) => setKnown({ ...known, [field]: value })}
        />
      ))}
      <Select
        label={labels.risk}
        allowDeselect={false}
        value={known.risk}
        onChange={(value) =>
          setKnown({ ...known, risk: RISKS.find((one) => one === value) ?? known.risk })
        }
        data={RISKS.map((value) => ({ value, label: riskLabel(value) }))}
      />
      {known.risk === 'high' && <GroundFields known={known} onChange={setKnown} />}
    </SubmitForm>
  )
}

const TOLD = 'told'

/** People are told of a high risk, or it says on which ground not. */
function GroundFields(props: { known: BreachFields; onChange: (known: BreachFields) => void }) {
  const { known, onChange } = props
  const labels = fieldLabels()
  const choose = (value: string | null) => {
    const ground = GROUNDS.find((one) => one === value)
    const nothing = { not_told_ground: '' as const, why_not_subjects: '', public_notice: '' }
    onChange({ ...known, ...(ground === undefined ? nothing : { not_told_ground: ground }) })
  }
  return (
    <>
      <Select
        label={labels.not_told_ground}
        allowDeselect={false}
        value={known.not_told_ground === '' ? TOLD : known.not_told_ground}
        onChange={choose}
        data={[
          { value: TOLD, label: i18n.t('None: they are told') },
          ...GROUNDS.map((value) => ({ value, label: groundLabel(value) })),
        ]}
      />
      {known.not_told_ground !== '' && (
        <Textarea
          label={labels.why_not_subjects}
          required
          autosize
          minRows={2}
          maxLength={4000}
          value={known.why_not_subjects}
          onChange={(event) => onChange({ ...known, why_not_subjects: event.currentTarget.value })}
        />
      )}
      {known.not_told_ground === 'disproportionate' && (
        <TextInput
          label={labels.public_notice}
          required
          maxLength={200}
          value={known.public_notice}
          onChange={(event) => onChange({ ...known, public_notice: event.currentTarget.value })}
        />
      )}
    </>
  )
}

function NoticeForm({ breach }: { breach: Breach }) {
  const first = breach.content.role === 'processor' ? 'controllers' : 'authority'
  const [to, setTo] = useState<(typeof TO)[number]>(first)
  const [phase, setPhase] = useState<(typeof PHASES)[number]>('first')
  const [language, setLanguage] = useState('en')
  const [recipients, setRecipients] = useState('')
  const submit = async () => {
    const params = { path: { id: breach.id } }
    const addresses = to === 'authority' ? [] : recipients.split(/[\s,;]+/).filter(Boolean)
    const notice = { to, phase, language, recipients: addresses, tenant_ids: [] }
    await client.POST('/v1/breaches/{id}/notices', { params, body: notice })
    await refreshGovernance()
  }
  return (
    <SubmitForm
      action={breach.content.is_drill ? i18n.t('Send (drill: nothing leaves)') : i18n.t('Send')}
      submit={submit}
    >
      <Select
        label={i18n.t('Send a notice to')}
        allowDeselect={false}
        value={to}
        onChange={(value) => setTo(TO.find((one) => one === value) ?? to)}
        data={TO.map((value) => ({ value, label: toLabel(value) }))}
      />
      <Select
        label={i18n.t('Phase')}
        allowDeselect={false}
        value={phase}
        onChange={(value) => setPhase(PHASES.find((one) => one === value) ?? phase)}
        data={PHASES.map((value) => ({ value, label: phaseLabel(value) }))}
      />
      <Select
        label={i18n.t('Language of the notice')}
        description={
          to === 'subjects'
            ? i18n.t('Who has an account here reads it in its language. Your own words stay.')
            : i18n.t('Your own words stay as they are.')
        }
        allowDeselect={false}
        value={language}
        onChange={(value) => setLanguage(value ?? language)}
        data={Object.entries(LOCALES).map(([value, label]) => ({ value, label }))}
      />
      {to !== 'authority' && (
        <Textarea
          label={i18n.t('Addresses')}
          required
          autosize
          minRows={2}
          value={recipients}
          onChange={(event) => setRecipients(event.currentTarget.value)}
        />
      )}
    </SubmitForm>
  )
}

function CloseForm({ breach }: { breach: Breach }) {
  const [text, setText] = useState('')
  const submit = async () => {
    const params = { path: { id: breach.id } }
    await client.POST('/v1/breaches/{id}/close', { params, body: { text } })
    await refreshGovernance()
  }
  return (
    <SubmitForm action={i18n.t('Close the breach')} submit={submit}>
      <Textarea
        label={i18n.t('Conclusion')}
        required
        maxLength={4000}
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
      />
    </SubmitForm>
  )
}

function OpenForm(props: { onDone: (id: string) => void }) {
  const [title, setTitle] = useState('')
  const [role, setRole] = useState<'controller' | 'processor'>('controller')
  const [isDrill, setDrill] = useState(false)
  const [aware, setAware] = useState('')
  const submit = async () => {
    const breach = {
      title,
      role,
      is_drill: isDrill,
      risk: 'unknown' as const,
      aware_at: aware === '' ? null : new Date(aware).toISOString(),
    }
    const made = await body(client.POST('/v1/breaches', { body: breach }))
    props.onDone(made.id)
  }
  return (
    <SubmitForm action={i18n.t('Open')} submit={submit}>
      <TextInput
        label={i18n.t('Title')}
        required
        data-autofocus
        maxLength={200}
        value={title}
        onChange={(event) => setTitle(event.currentTarget.value)}
      />
      <Select
        label={i18n.t('Your role')}
        allowDeselect={false}
        value={role}
        onChange={(value) => setRole(value === 'processor' ? 'processor' : 'controller')}
        data={[
          { value: 'controller', label: i18n.t('Controller') },
          { value: 'processor', label: i18n.t('Processor') },
        ]}
      />
      <TextInput
        label={i18n.t('Aware since (now, if empty)')}
        type="datetime-local"
        value={aware}
        onChange={(event) => setAware(event.currentTarget.value)}
      />
      <Group>
        <Checkbox
          label={i18n.t('This is a drill: it is marked everywhere, and nothing of it leaves')}
          checked={isDrill}
          onChange={(event) => setDrill(event.currentTarget.checked)}
        />
      </Group>
    </SubmitForm>
  )
}
