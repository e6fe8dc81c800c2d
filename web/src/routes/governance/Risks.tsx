// Risks on a field of five by five, without and with what is done about them.
import { i18n } from '@lingui/core'
import { Button, Group, NumberInput, SegmentedControl, Select, Textarea, TextInput } from '@mantine/core'
import { useInfiniteQuery, useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { body, client, ifUnchanged } from '../../api/client'
import { heatMapQuery, refreshGovernance, risksQuery } from '../../api/governanceQueries'
import { ProblemError } from '../../api/problem'
import type { Risk } from '../../api/types'
import { Allowed } from '../../app/Allowed'
import { useAppSearch, usePatchSearch } from '../../app/search'
import { platformNow } from '../../lib/now'
import { Icon } from '../../ui/icons'
import { Empty, Facts, Failure, Loading, Tag } from '../../ui/layout'
import { MoreRows, useRows } from '../../ui/MoreRows'
import { Drawer, Modal } from '../../ui/overlays'
import { SubmitForm } from '../../ui/SubmitForm'
import { Instant } from '../../ui/time'
import { toast } from '../../ui/toasts'
import { HistoryList } from './HistoryList'

const SIDES = [1, 2, 3, 4, 5]
const TREATMENTS = ['mitigate', 'transfer', 'avoid', 'accept'] as const
const DAY_MS = 86_400_000

type Treatment = (typeof TREATMENTS)[number]

function treatmentLabel(treatment: Treatment): string {
  return {
    mitigate: i18n.t('Mitigate'),
    transfer: i18n.t('Transfer'),
    avoid: i18n.t('Avoid'),
    accept: i18n.t('Accept'),
  }[treatment]
}

function stateLabel(state: string): string {
  const words: Record<string, string> = {
    open: i18n.t('open'),
    accepted: i18n.t('accepted'),
    closed: i18n.t('closed'),
  }
  return words[state] ?? state
}

export function Risks() {
  const query = useInfiniteQuery(risksQuery)
  const search = useAppSearch()
  const patch = usePatchSearch()
  const [writing, setWriting] = useState<Risk | 'new' | null>(null)
  const items = useRows(query, search.select)
  const open = items.find((one) => one.id === search.select)
  const score = (risk: Risk) => risk.content.residual_likelihood * risk.content.residual_impact
  const sorted = [...items].sort((one, other) => score(other) - score(one))
  return (
    <section className="block">
      <div className="block-head">
        <h2>{i18n.t('Risks')}</h2>
        <Allowed to="governance.write">
          <Button
            size="xs"
            variant="default"
            leftSection={<Icon name="plus" size={14} />}
            onClick={() => setWriting('new')}
          >
            {i18n.t('Write down a risk')}
          </Button>
        </Allowed>
      </div>
      {query.isPending && <Loading rows={3} />}
      {query.isError && <Failure error={query.error} compact />}
      {query.data && items.length === 0 && (
        <Empty icon="heat" title={i18n.t('No risk yet')}>
          {i18n.t('Each risk stands on a field of five by five, without and with what is done about it.')}
        </Empty>
      )}
      {items.length > 0 && <HeatMap />}
      <ul className="plain-list">
        {sorted.map((risk) => (
          <li key={risk.id}>
            <span>
              <button
                type="button"
                className="link-button"
                onClick={() => patch({ select: risk.id })}
              >
                {risk.content.title}
              </button>{' '}
              <span className="dim">
                {treatmentLabel(risk.content.treatment)} · {risk.content.owner}
              </span>
            </span>
            <span className="dim">
              {risk.content.likelihood * risk.content.impact} → {score(risk)}
            </span>
            <Tag tone={risk.state === 'open' ? 'warn' : 'neutral'}>{stateLabel(risk.state)}</Tag>
          </li>
        ))}
      </ul>
      <MoreRows query={query} />
      <Drawer
        opened={open !== undefined}
        onClose={() => patch({ select: undefined })}
        position="right"
        title={i18n.t('Risk')}
      >
        {open && <OneRisk risk={open} onWrite={() => setWriting(open)} />}
      </Drawer>
      <Modal
        opened={writing !== null}
        onClose={() => setWriting(null)}
        title={i18n.t('Write down a risk')}
      >
        {writing !== null && (
          <RiskForm
            risk={writing === 'new' ? null : writing}
            onDone={() => {
              setWriting(null)
              void refreshGovernance()
            }}
          />
        )}
      </Modal>
    </section>
  )
}

/** How bad a square is: the product of its sides, in four steps. */
function tone(likelihood: number, impact: number): string {
  const product = likelihood * impact
  if (product >= 15) return 'critical'
  if (product >= 10) return 'high'
  return product >= 5 ? 'medium' : 'low'
}

function HeatMap() {
  const query = useQuery(heatMapQuery)
  const [kind, setKind] = useState<'inherent' | 'residual'>('residual')
  const squares = query.data?.items ?? []
  const count = (likelihood: number, impact: number) =>
    squares.find((one) => one.likelihood === likelihood && one.impact === impact)?.[kind].length ?? 0
  return (
    <>
      <SegmentedControl
        aria-label={i18n.t('Which risks the field shows')}
        value={kind}
        onChange={(value) => setKind(value === 'inherent' ? 'inherent' : 'residual')}
        data={[
          { value: 'inherent', label: i18n.t('Without measures') },
          { value: 'residual', label: i18n.t('With measures') },
        ]}
      />
      <table className="risk-field">
        <caption className="dim">{i18n.t('Likelihood upwards, impact to the right')}</caption>
        <tbody>
          {[...SIDES].reverse().map((likelihood) => (
            <tr key={likelihood}>
              <th scope="row">{likelihood}</th>
              {SIDES.map((impact) => (
                <td key={impact} data-tone={tone(likelihood, impact)}>
                  {count(likelihood, impact) || <span className="dim">·</span>}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
        <tfoot>
          <tr>
            <td />
            {SIDES.map((impact) => (
              <th key={impact} scope="col">
                {impact}
              </th>
            ))}
          </tr>
        </tfoot>
      </table>
    </>
  )
}

function OneRisk({ risk, onWrite }: { risk: Risk; onWrite: () => void }) {
  const params = { path: { id: risk.id } }
  const [reason, setReason] = useState('')
  const [until, setUntil] = useState(() =>
    new Date(platformNow() + 180 * DAY_MS).toISOString().slice(0, 10),
  )
  const { content, facts, state } = risk
  const close = async () => {
    try {
      await client.POST('/v1/risks/{id}/close', { params })
      await refreshGovernance()
    } catch (error) {
      toast(ProblemError.of(error).message)
    }
  }
  const accept = async () => {
    const acceptance = { until: `${until}T00:00:00Z`, reason }
    await client.POST('/v1/risks/{id}/accept', { params, body: acceptance })
    await refreshGovernance()
  }
  return (
    <div className="stack">
      <h3>{content.title}</h3>
      <p>{content.text}</p>
      <Facts
        items={[
          [i18n.t('State'), stateLabel(state)],
          [i18n.t('Without measures'), `${content.likelihood} × ${content.impact}`],
          [
            i18n.t('With measures'),
            `${content.residual_likelihood} × ${content.residual_impact}`,
          ],
          [i18n.t('Accepted by'), facts.accepted_by ?? i18n.t('nobody yet')],
          [
            i18n.t('Accepted until'),
            facts.accepted_until === null ? (
              '–'
            ) : (
              <Instant key="until" at={facts.accepted_until} age={false} />
            ),
          ],
        ]}
      />
      {state !== 'closed' && (
        <Allowed to="governance.write">
          <Group>
            <Button variant="default" onClick={onWrite}>
              {i18n.t('Change')}
            </Button>
            <Button variant="default" onClick={() => void close()}>
              {i18n.t('Close the risk')}
            </Button>
          </Group>
        </Allowed>
      )}
      {state === 'open' && (
        <Allowed to="governance.approve">
          <SubmitForm action={i18n.t('Accept the risk')} submit={accept}>
            <Textarea
              label={i18n.t('Why it is accepted')}
              required
              maxLength={4000}
              value={reason}
              onChange={(event) => setReason(event.currentTarget.value)}
            />
            <TextInput
              label={i18n.t('Until')}
              type="date"
              required
              value={until}
              onChange={(event) => setUntil(event.currentTarget.value)}
            />
            <p className="hint">
              {i18n.t('Somebody else than whoever wrote the risk accepts it. The acceptance ends by itself.')}
            </p>
          </SubmitForm>
        </Allowed>
      )}
      <HistoryList id={risk.id} />
    </div>
  )
}

function RiskForm({ risk, onDone }: { risk: Risk | null; onDone: () => void }) {
  const known = risk?.content
  const [title, setTitle] = useState(known?.title ?? '')
  const [text, setText] = useState(known?.text ?? '')
  const [owner, setOwner] = useState(known?.owner ?? '')
  const [treatment, setTreatment] = useState<Treatment>(known?.treatment ?? 'mitigate')
  const [sides, setSides] = useState({
    likelihood: known?.likelihood ?? 3,
    impact: known?.impact ?? 3,
    residual_likelihood: known?.residual_likelihood ?? 2,
    residual_impact: known?.residual_impact ?? 2,
  })
  const labels = {
    likelihood: i18n.t('Likelihood without measures'),
    impact: i18n.t('Impact without measures'),
    residual_likelihood: i18n.t('Likelihood with measures'),
    residual_impact: i18n.t('Impact with measures'),
  }
  const submit = async () => {
    const content = {
      ...sides,
      title,
      text,
      owner,
      treatment,
      controls: known?.controls ?? [],
      review_at: known?.review_at ?? null,
    }
    if (risk === null) await body(client.POST('/v1/risks', { body: content }))
    else {
      const params = { path: { id: risk.id } }
      await client.PUT('/v1/risks/{id}', { params, body: content, ...ifUnchanged(risk) })
    }
    onDone()
  }
  return (
    <SubmitForm action={i18n.t('Save')} submit={submit}>
      <TextInput
        label={i18n.t('What may happen')}
        required
        data-autofocus
        maxLength={200}
        value={title}
        onChange={(event) => setTitle(event.currentTarget.value)}
      />
      <Textarea
        label={i18n.t('In words')}
        maxLength={4000}
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
      />
      <TextInput
        label={i18n.t('Who answers for it')}
        maxLength={200}
        value={owner}
        onChange={(event) => setOwner(event.currentTarget.value)}
      />
      {(Object.keys(labels) as (keyof typeof labels)[]).map((side) => (
        <NumberInput
          key={side}
          label={labels[side]}
          min={1}
          max={5}
          allowDecimal={false}
          value={sides[side]}
          onChange={(value) => setSides({ ...sides, [side]: Number(value) || 1 })}
        />
      ))}
      <Select
        label={i18n.t('What is done about it')}
        allowDeselect={false}
        value={treatment}
        onChange={(value) =>
          setTreatment(TREATMENTS.find((one) => one === value) ?? treatment)
        }
        data={TREATMENTS.map((value) => ({ value, label: treatmentLabel(value) }))}
      />
    </SubmitForm>
  )
}
