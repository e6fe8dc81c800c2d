// Twins: bring a building from IFC, its geometry converted here, its devices from an inventory.
import { i18n } from '@lingui/core'
import { useLingui } from '@lingui/react'
import { Button, FileButton, Progress, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useState } from 'react'

import { bytes, client, upload } from '../api/client'
import { queryClient, twinsQuery } from '../api/queries'
import type { ImportResult, Twin } from '../api/types'
import { useAllowed } from '../app/Allowed'
import { useMay } from '../app/places'
import { download, toCsv } from '../lib/csv'
import { formatBytes, formatCount, shorten } from '../lib/format'
import { ConfirmTyped } from '../ui/dialogs'
import { Icon } from '../ui/icons'
import { Empty, Facts, Failure, Loading, Page, Tag } from '../ui/layout'
import { toast } from '../ui/toasts'
import { Age } from '../ui/time'

/** Each phase of the conversion is a third of the bar. */
const PHASE_START = { reading: 0, meshing: 1, writing: 2 }

type Work = { label: string; fraction: number }

/** Converts in the import worker, then stores the result under the hash of what it came from. */
async function convertAndStore(twin: Twin, ifc: ArrayBuffer, onWork: (work: Work | null) => void) {
  const label = i18n.t('Converting the geometry in this browser')
  onWork({ label, fraction: 0 })
  const { convertIfc } = await import('../import')
  const glb = await convertIfc(ifc, ({ phase, done, total }) =>
    onWork({ label, fraction: (PHASE_START[phase] + done / Math.max(1, total)) / 3 }),
  )
  onWork({ label: i18n.t('Storing the geometry'), fraction: 0.98 })
  await upload({
    method: 'PUT',
    path: `/v1/twins/${twin.id}/geometry`,
    type: 'model/gltf-binary',
    content: glb,
    headers: { 'x-source-sha256': twin.source.sha256 },
  })
  onWork(null)
  await queryClient.invalidateQueries({ queryKey: ['twins'] })
}

export function TwinsPage() {
  const may = useMay()
  const query = useQuery(twinsQuery)
  return (
    <Page
      title={i18n.t('Twins')}
      lead={i18n.t('Buildings as storeys, rooms and elements; the map on which devices stand.')}
    >
      {query.isError && <Failure error={query.error} retry={() => void query.refetch()} />}
      {query.isPending && <Loading />}
      {query.data?.items.length === 0 && (
        <Empty icon="twins" title={i18n.t('No building yet')}>
          {may.whole('twin.import') && i18n.t(
            'Upload an IFC file (IFC2x3 or IFC4) below. Rooms appear at once; the full geometry is converted in this browser and stored for everyone.',
          )}
        </Empty>
      )}
      <div className="twin-grid">
        {query.data?.items.map((twin) => (
          <TwinCard key={twin.id} twin={twin} />
        ))}
      </div>
      {may.whole('twin.import') && <NewTwin />}
    </Page>
  )
}

function WorkBar({ work }: { work: Work }) {
  return (
    <div className="work" role="status">
      <span>{work.label}</span>
      <Progress value={Math.round(work.fraction * 100)} size="sm" aria-label={work.label} />
      <span className="num dim">{Math.round(work.fraction * 100)} %</span>
    </div>
  )
}

function NewTwin() {
  const [name, setName] = useState('')
  const [file, setFile] = useState<File | null>(null)
  const [work, setWork] = useState<Work | null>(null)
  const [error, setError] = useState<unknown>(null)
  const [warnings, setWarnings] = useState<string[]>([])
  const submit = async () => {
    if (file === null) return
    setError(null)
    setWarnings([])
    try {
      const label = i18n.t('Uploading {file}', { file: file.name })
      setWork({ label, fraction: 0 })
      const made = await upload<{ twin: Twin; warnings: string[] }>({
        method: 'POST',
        path: `/v1/twins?name=${encodeURIComponent(name.trim() || file.name.replace(/\.ifc$/i, ''))}`,
        type: 'application/x-step',
        content: file,
        headers: { 'idempotency-key': crypto.randomUUID() },
        onProgress: (fraction) => setWork({ label, fraction }),
      })
      setWarnings(made.warnings)
      await queryClient.invalidateQueries({ queryKey: ['twins'] })
      await convertAndStore(made.twin, await file.arrayBuffer(), setWork)
      toast(i18n.t('{name} is ready.', { name: made.twin.name }))
      setFile(null)
      setName('')
    } catch (failure) {
      setError(failure)
    } finally {
      setWork(null)
    }
  }
  return (
    <section className="block">
      <h2>{i18n.t('Add a building')}</h2>
      <form
        className="stack narrow"
        onSubmit={(event) => {
          event.preventDefault()
          void submit()
        }}
      >
        <FileButton accept=".ifc" onChange={setFile} disabled={work !== null}>
          {(props) => (
            <Button variant="default" leftSection={<Icon name="upload" size={16} />} {...props}>
              {file === null
                ? i18n.t('Choose an IFC file')
                : `${file.name} · ${formatBytes(file.size, i18n.locale)}`}
            </Button>
          )}
        </FileButton>
        <TextInput
          label={i18n.t('Name')}
          placeholder={file?.name.replace(/\.ifc$/i, '') ?? ''}
          value={name}
          onChange={(event) => setName(event.currentTarget.value)}
        />
        {work && <WorkBar work={work} />}
        {error !== null && <Failure error={error} compact />}
        {warnings.length > 0 && (
          <ul className="warnings" lang="en">
            {warnings.map((warning) => (
              <li key={warning}>{warning}</li>
            ))}
          </ul>
        )}
        <Button type="submit" disabled={file === null} loading={work !== null}>
          {i18n.t('Upload and convert')}
        </Button>
      </form>
    </section>
  )
}

function TwinCard({ twin }: { twin: Twin }) {
  const { i18n: lingui } = useLingui()
  const [work, setWork] = useState<Work | null>(null)
  const [error, setError] = useState<unknown>(null)
  const [removing, setRemoving] = useState(false)
  const may = useAllowed({ twin_id: twin.id })
  const imports = useAllowed()('device.import')
  const count = (value: number) => <span className="num">{formatCount(value, lingui.locale)}</span>
  const convert = async () => {
    setError(null)
    try {
      setWork({ label: i18n.t('Fetching the source'), fraction: 0 })
      const source = await bytes(`/v1/twins/${twin.id}/source`)
      if (source !== null) await convertAndStore(twin, source, setWork)
    } catch (failure) {
      setError(failure)
    } finally {
      setWork(null)
    }
  }
  return (
    <section className="card twin-card">
      <header className="card-head">
        <h2>{twin.name}</h2>
        {twin.geometry === 'none' && <Tag tone="warn">{i18n.t('Rooms only')}</Tag>}
        <Link to="/" search={{ twin: twin.id } as never} className="button small">
          {i18n.t('Open')}
        </Link>
      </header>
      <Facts
        items={[
          [i18n.t('Storeys'), count(twin.counts.storeys)],
          [i18n.t('Rooms'), count(twin.counts.spaces)],
          [i18n.t('Elements'), count(twin.counts.elements)],
          [i18n.t('Sensors in the model'), count(twin.counts.sensors)],
          [i18n.t('Devices'), count(twin.counts.devices)],
          [i18n.t('Active alerts'), count(twin.active_alerts)],
        ]}
      />
      <p className="dim card-foot">
        {twin.source.schema} · {formatBytes(twin.source.bytes, lingui.locale)} ·{' '}
        <code title={twin.source.sha256}>SHA-256 {shorten(twin.source.sha256, 6)}</code> ·{' '}
        <Age at={twin.updated_at} />
      </p>
      {work && <WorkBar work={work} />}
      {error !== null && <Failure error={error} compact />}
      <div className="row">
        {twin.geometry === 'none' && may('twin.write_geometry') && may('twin.import') && (
          <Button size="xs" onClick={() => void convert()} loading={work !== null}>
            {i18n.t('Convert the geometry')}
          </Button>
        )}
        {imports && <Inventory twin={twin} />}
        {may('twin.delete') && (
          <Button
            size="xs"
            variant="default"
            leftSection={<Icon name="trash" size={14} />}
            onClick={() => setRemoving(true)}
          >
            {i18n.t('Delete')}
          </Button>
        )}
      </div>
      <ConfirmTyped
        opened={removing}
        onClose={() => setRemoving(false)}
        title={i18n.t('Delete the building')}
        name={twin.name}
        action={i18n.t('Delete')}
        onConfirm={async () => {
          await client.DELETE('/v1/twins/{id}', { params: { path: { id: twin.id } } })
          await queryClient.invalidateQueries({ queryKey: ['twins'] })
          await queryClient.invalidateQueries({ queryKey: ['devices'] })
        }}
      >
        {i18n.t(
          'Lost: the source file, the geometry and the place of {count} devices. The devices and their history stay.',
          {
            count: twin.counts.devices,
          },
        )}
      </ConfirmTyped>
    </section>
  )
}

const INVENTORY_HEADER = ['name', 'type', 'space', 'key', 'unit', 'declaration']

function Inventory({ twin }: { twin: Twin }) {
  const [error, setError] = useState<unknown>(null)
  const [result, setResult] = useState<ImportResult | null>(null)
  const [busy, setBusy] = useState(false)
  const send = async (file: File | null) => {
    if (file === null) return
    setError(null)
    setResult(null)
    setBusy(true)
    try {
      setResult(
        await upload<ImportResult>({
          method: 'POST',
          path: `/v1/devices/import?twin_id=${twin.id}`,
          type: 'text/csv',
          content: file,
        }),
      )
      await queryClient.invalidateQueries({ queryKey: ['devices'] })
      await queryClient.invalidateQueries({ queryKey: ['twins'] })
    } catch (failure) {
      setError(failure)
    } finally {
      setBusy(false)
    }
  }
  return (
    <>
      <FileButton accept=".csv,text/csv" onChange={(file) => void send(file)}>
        {(props) => (
          <Button
            size="xs"
            variant="default"
            loading={busy}
            leftSection={<Icon name="upload" size={14} />}
            {...props}
          >
            {i18n.t('Device inventory (CSV)')}
          </Button>
        )}
      </FileButton>
      <button
        type="button"
        className="link-button"
        onClick={() =>
          download(
            'inventory.csv',
            'text/csv',
            toCsv([
              INVENTORY_HEADER,
              ['AHU-1 supply', 'temperature', 'A101', 'temperature', '°C', 'non_personal'],
            ]),
          )
        }
      >
        {i18n.t('Template')}
      </button>
      {error !== null && <Failure error={error} compact />}
      {result && (
        <div className="once" role="status">
          <p>
            {i18n.t('{created} devices added, {updated} updated.', {
              created: result.created,
              updated: result.updated,
            })}
          </p>
          {result.tokens.length > 0 && (
            <>
              <p>
                {i18n.t('The new tokens are shown only now. Keep the file where secrets are kept.')}
              </p>
              <Button
                size="xs"
                leftSection={<Icon name="download" size={14} />}
                onClick={() =>
                  download(
                    'tokens.csv',
                    'text/csv',
                    toCsv([['device', 'token'], ...result.tokens.map((t) => [t.device, t.token])]),
                  )
                }
              >
                {i18n.t('Download the tokens')}
              </Button>
            </>
          )}
        </div>
      )}
    </>
  )
}
