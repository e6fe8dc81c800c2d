// Public zones: what they let out, what of the budget is spent, what is missing, and what is signed
// about how they are set. Values of a single source are nowhere.
import { i18n } from '@lingui/core'
import { Button, MultiSelect, NumberInput, Select, TagsInput, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useMemo, useState } from 'react'

import { body, client } from '../api/client'
import { publicZonesQuery, queryClient } from '../api/queries'
import type { PublicZone } from '../api/types'
import { Allowed, useAllowed } from '../app/Allowed'
import { useDeviceOptions } from '../app/useDevices'
import { ConfirmTyped } from '../ui/dialogs'
import { Icon } from '../ui/icons'
import { CopyField, Empty, Facts, Failure, Loading, Page, Tag } from '../ui/layout'
import { Modal } from '../ui/overlays'
import { SubmitForm } from '../ui/SubmitForm'
import { Instant } from '../ui/time'
import { OptIns } from './OptIns'

/** What a number, a day and a year may cost at most, as the platform has them. */
const NUMBER_MAX = 200
const DAY_MAX = 400
const YEAR_SQUARES = 160_000

/** How many windows a year has room for, of measures that cost this. */
function windowsOfYear(costs: number[]): number {
  const squares = costs.reduce((sum, cost) => sum + cost * cost, 0)
  return squares === 0 ? 0 : Math.floor(YEAR_SQUARES / squares)
}

export function PublicZonesPage() {
  const query = useQuery(publicZonesQuery)
  const may = useAllowed()
  const [making, setMaking] = useState(false)
  const refresh = () => queryClient.invalidateQueries({ queryKey: ['public-zones'] })
  return (
    <Page
      title={i18n.t('Public zones')}
      lead={i18n.t(
        'Readings of a zone’s devices stay in memory. What is kept are numbers of whole groups, with noise under a budget.',
      )}
      actions={
        <Allowed to="collection.write">
          <Button leftSection={<Icon name="plus" size={16} />} onClick={() => setMaking(true)}>
            {i18n.t('New zone')}
          </Button>
        </Allowed>
      }
    >
      {query.isPending && <Loading rows={4} />}
      {query.isError && <Failure error={query.error} retry={() => void query.refetch()} />}
      {query.data?.items.length === 0 && (
        <Empty icon="heat" title={i18n.t('No public zone')}>
          {i18n.t(
            'A zone is for places where anybody comes by: at least 15 devices, and no window shorter than 30 minutes.',
          )}
        </Empty>
      )}
      {query.data?.items.map((zone) => <Zone key={zone.id} zone={zone} refresh={refresh} />)}
      {may('collection.write') && <OptIns />}
      <Modal opened={making} onClose={() => setMaking(false)} title={i18n.t('New zone')}>
        <ZoneForm
          onDone={() => {
            setMaking(false)
            void refresh()
          }}
        />
      </Modal>
    </Page>
  )
}

function Zone({ zone, refresh }: { zone: PublicZone; refresh: () => Promise<void> }) {
  const may = useAllowed()
  const [ending, setEnding] = useState(false)
  const [changing, setChanging] = useState(false)
  const end = async () => {
    await body(client.DELETE('/v1/collection-zones/{id}', { params: { path: { id: zone.id } } }))
    await refresh()
  }
  const epsilon = (milli: number) => (milli / 1000).toFixed(3)
  const yearSpent = Math.ceil((100 * zone.year_spent_squares) / zone.year_budget_squares)
  return (
    <section className="block">
      <div className="block-head">
        <h2>{zone.name}</h2>
        <Tag tone={zone.is_in_force ? 'neutral' : 'stale'}>
          {zone.is_in_force ? i18n.t('in force') : i18n.t('ended')}
        </Tag>
        {zone.is_in_force && may('collection.write') && (
          <>
            <Button size="compact-xs" variant="default" onClick={() => setChanging(true)}>
              {i18n.t('Change')}
            </Button>
            <Button size="compact-xs" variant="default" onClick={() => setEnding(true)}>
              {i18n.t('End')}
            </Button>
          </>
        )}
      </div>
      <Facts
        items={[
          [i18n.t('Devices'), String(zone.device_ids.length)],
          [i18n.t('Window'), i18n.t('{minutes} minutes', { minutes: zone.window_minutes })],
          [
            i18n.t('Budget of a day'),
            i18n.t('{spent} of {budget} epsilon spent', {
              spent: epsilon(zone.spent_milli),
              budget: epsilon(zone.budget_milli_per_day),
            }),
          ],
          [
            i18n.t('Budget of 365 days'),
            i18n.t('{percent} % spent; a whole year has room for {windows} windows', {
              percent: yearSpent,
              windows: windowsOfYear(zone.measures.map((one) => one.epsilon_milli)),
            }),
          ],
          [
            i18n.t('Settled until'),
            zone.settled_until ? <Instant key="at" at={zone.settled_until} /> : '—',
          ],
          [i18n.t('Measures'), zone.measures.map((one) => one.key).join(', ')],
        ]}
      />
      <p className="hint">
        {i18n.t(
          'Windows that the platform has not seen whole are marked as gaps among the readings of the zone’s own device.',
        )}
      </p>
      {!zone.is_as_signed && (
        <p className="hint">
          {i18n.t(
            'It was set when larger costs were permitted. The largest permitted now count, with more noise than the attestation says; save it anew to have that signed.',
          )}
        </p>
      )}
      <CopyField
        label={i18n.t('Attestation')}
        text={`${zone.statement}${zone.signature}`}
        multiline
      />
      <Modal
        opened={changing}
        onClose={() => setChanging(false)}
        title={i18n.t('Change this zone')}
      >
        <ZoneForm
          zone={zone}
          onDone={() => {
            setChanging(false)
            void refresh()
          }}
        />
      </Modal>
      <ConfirmTyped
        opened={ending}
        title={i18n.t('End this zone')}
        name={zone.name}
        action={i18n.t('End')}
        onConfirm={end}
        onClose={() => setEnding(false)}
      >
        {i18n.t(
          'It cannot be set in force again. Its devices have to be deleted first; what it let out stays.',
        )}
      </ConfirmTyped>
    </section>
  )
}

/** Sets a zone, or one that there is anew; of that the first measure can be changed. */
function ZoneForm({ zone, onDone }: { zone?: PublicZone; onDone: () => void }) {
  const [first, ...others] = zone?.measures ?? []
  const [name, setName] = useState(zone?.name ?? '')
  const [minutes, setMinutes] = useState(zone?.window_minutes ?? 1440)
  const [budget, setBudget] = useState(zone?.budget_milli_per_day ?? 100)
  const [cost, setCost] = useState(first?.epsilon_milli ?? 20)
  const [key, setKey] = useState(first?.key ?? '')
  const [kind, setKind] = useState(first?.kind ?? 'amount')
  const [words, setWords] = useState<string[]>(first?.words ?? [])
  const [step, setStep] = useState(first?.step ?? 1)
  const [most, setMost] = useState(first?.steps_max ?? 100)
  const [output, setOutput] = useState<string | null>(zone?.output_device_id ?? null)
  const [sources, setSources] = useState<string[]>(zone?.device_ids ?? [])
  const outputs = useMemo(() => (output === null ? [] : [output]), [output])
  const ofOutput = useDeviceOptions(outputs)
  const ofSources = useDeviceOptions(sources)
  const number = (set: (value: number) => void) => (value: string | number) => set(Number(value))
  const submit = async () => {
    const own = { key, epsilon_milli: cost, kind }
    const measure =
      kind === 'amount'
        ? { ...own, step, steps_max: most, words: [] }
        : { ...own, step: null, steps_max: null, words }
    const input = {
      name,
      window_minutes: minutes,
      budget_milli_per_day: budget,
      measures: [measure, ...others],
      output_device_id: output ?? '',
      device_ids: sources,
    }
    if (zone === undefined) {
      await body(client.POST('/v1/collection-zones', { body: input }))
    } else {
      const params = { path: { id: zone.id } }
      await body(client.PUT('/v1/collection-zones/{id}', { params, body: input }))
    }
    onDone()
  }
  return (
    <SubmitForm
      action={zone === undefined ? i18n.t('Set up') : i18n.t('Save')}
      submit={submit}
      incomplete={
        name === '' || key === '' || output === null || (kind === 'status' && words.length === 0)
      }
    >
      {zone !== undefined && (
        <p className="hint">
          {i18n.t(
            'What the open window has gathered is dropped and marked as a gap. What is spent of the budget stays spent.',
          )}
        </p>
      )}
      {others.length > 0 && (
        <p className="hint">
          {i18n.t('Further measures stay as they are: {names}', {
            names: others.map((one) => one.key).join(', '),
          })}
        </p>
      )}
      <TextInput
        label={i18n.t('Name')}
        value={name}
        onChange={(event) => setName(event.currentTarget.value)}
      />
      <NumberInput
        label={i18n.t('Window in minutes')}
        min={30}
        max={1440}
        value={minutes}
        onChange={number(setMinutes)}
      />
      <NumberInput
        label={i18n.t('Budget of a day, in thousandths of epsilon')}
        min={1}
        max={DAY_MAX}
        value={budget}
        onChange={number(setBudget)}
      />
      <NumberInput
        label={i18n.t('Cost of the number in a window, in thousandths of epsilon')}
        description={i18n.t(
          'The less it costs, the more noise it has. A year has room for {windows} windows.',
          { windows: windowsOfYear([cost, ...others.map((one) => one.epsilon_milli)]) },
        )}
        min={1}
        max={NUMBER_MAX}
        value={cost}
        onChange={number(setCost)}
      />
      <Select
        label={i18n.t('What is let out')}
        allowDeselect={false}
        value={kind}
        onChange={(value) => setKind(value ?? kind)}
        data={[
          { value: 'amount', label: i18n.t('The sum of an amount') },
          { value: 'status', label: i18n.t('How many devices are in each state') },
        ]}
      />
      <TextInput
        label={kind === 'amount' ? i18n.t('Key that is added up') : i18n.t('Key of the state')}
        value={key}
        onChange={(event) => setKey(event.currentTarget.value)}
      />
      {kind === 'amount' ? (
        <>
          <NumberInput label={i18n.t('Step')} min={0} value={step} onChange={number(setStep)} />
          <NumberInput
            label={i18n.t('Most steps of a device in a window')}
            min={1}
            value={most}
            onChange={number(setMost)}
          />
        </>
      ) : (
        <TagsInput
          label={i18n.t('States that are counted')}
          description={i18n.t('Of each device the last of these words in a window counts.')}
          value={words}
          onChange={setWords}
        />
      )}
      <Select
        label={i18n.t('Device that the numbers are readings of')}
        data={ofOutput.options}
        {...ofOutput.field}
        value={output}
        onChange={setOutput}
      />
      <MultiSelect
        label={i18n.t('Devices of the zone')}
        description={i18n.t('A device that became a source stays one until it is deleted.')}
        data={ofSources.options}
        {...ofSources.field}
        value={sources}
        onChange={setSources}
      />
    </SubmitForm>
  )
}
