// A new import: a file, what its columns mean, what comes of its beginning, and then all of it.
import { i18n } from '@lingui/core'
import { Button, FileInput, Group, Progress } from '@mantine/core'
import { useEffect, useRef, useState } from 'react'

import { body, client } from '../../api/client'
import { ProblemError } from '../../api/problem'
import type { Import, ImportPlan, ImportPreview } from '../../api/types'
import { Failure } from '../../ui/layout'
import { useSubmit } from '../../ui/useSubmit'
import { Mapping } from './Mapping'
import { formOf, isTable, sniff } from './pieces'
import { Preview } from './Preview'
import { preview, run, Stopped } from './run'

/** The columns of a file that the platform wrote itself. */
const EXPORTED = ['device_id', 'device', 'key', 'time', 'value', 'type', 'quality']
/** Those of a Parquet file that it wrote. */
const TYPED = ['device_id', 'key', 'time', 'double', 'integer', 'boolean', 'text', 'type']
const TIMES = ['time', 'timestamp', 'ts', 'date', 'datetime']

/** What is likely meant by a table of these columns. */
function guess(known: ImportPlan, columns: string[]): ImportPlan {
  const isCsv = known.format === 'csv'
  const plan: ImportPlan = { ...known, columns: isCsv ? columns : [] }
  const time = columns.find((column) => TIMES.includes(column.toLowerCase()))
  if (time !== undefined) plan.time_column = time
  if (isCsv && EXPORTED.every((column) => columns.includes(column))) {
    return {
      ...plan,
      device_column: 'device_id',
      key_column: 'key',
      value_columns: ['value'],
      kind_column: 'type',
      quality_column: 'quality',
    }
  }
  if (!isCsv && [...TYPED, 'quality'].every((column) => columns.includes(column))) {
    return {
      ...plan,
      device_column: 'device_id',
      key_column: 'key',
      value_columns: ['double', 'integer', 'boolean', 'text'],
      kind_column: 'type',
      quality_column: 'quality',
    }
  }
  const device = columns.find((column) => column.toLowerCase() === 'device')
  return device === undefined ? plan : { ...plan, device_column: device }
}

export function NewImport({ onMoved, onDone }: { onMoved: () => void; onDone: () => void }) {
  const [file, setFile] = useState<File | null>(null)
  const [columns, setColumns] = useState<string[]>([])
  const [plan, setPlan] = useState<ImportPlan | null>(null)
  const [shown, setShown] = useState<ImportPreview | null>(null)
  const [progress, setProgress] = useState<number | null>(null)
  const [state, setState] = useState<Import | null>(null)
  const stop = useRef<AbortController | null>(null)
  // Whoever closes the window stops it: the same file goes on where it is.
  useEffect(() => () => stop.current?.abort(), [])
  const looking = useSubmit()
  const sending = useSubmit()

  const choose = (chosen: File | null) => {
    setFile(chosen)
    setPlan(null)
    setShown(null)
    setState(null)
    if (chosen === null) return
    void looking.run(async () => {
      const form = formOf(chosen.name) ?? 'csv'
      if (!isTable(form)) {
        setPlan({ format: form })
        return
      }
      const known: ImportPlan = { format: form }
      const delimiter = form === 'csv' ? await sniff(chosen) : ','
      if (delimiter !== ',') known.delimiter = delimiter
      const { columns: found } = await preview(chosen, known)
      setColumns(found)
      setPlan(guess(known, found))
    })
  }
  const change = (next: ImportPlan) => {
    setPlan(next)
    setShown(null)
    setState(null)
  }
  const look = (from: File, by: ImportPlan) =>
    looking.run(async () => setShown(await preview(from, by)))
  const start = (from: File, by: ImportPlan) =>
    sending.run(async () => {
      stop.current = new AbortController()
      setProgress(0)
      try {
        const done = await run(from, by, {
          signal: stop.current.signal,
          onProgress: (fraction, now) => {
            setProgress(fraction)
            setState(now)
          },
        })
        setState(done)
      } catch (error) {
        if (!(error instanceof Stopped)) throw ProblemError.of(error)
      } finally {
        setProgress(null)
        onMoved()
      }
    })
  const end = async () => {
    stop.current?.abort()
    if (state !== null) {
      await body(client.DELETE('/v1/imports/{id}', { params: { path: { id: state.id } } }))
    }
    onMoved()
  }
  const error = looking.error ?? sending.error
  const isBusy = progress !== null
  return (
    <div className="stack">
      <FileInput
        label={i18n.t('File')}
        description={i18n.t('CSV with a header, Parquet up to 64 MiB, NDJSON or line protocol')}
        value={file}
        onChange={choose}
        disabled={isBusy}
      />
      {plan !== null && <Mapping plan={plan} columns={columns} onChange={change} />}
      {error !== null && <Failure error={error} compact />}
      {shown !== null && <Preview shown={shown} />}
      {progress !== null && (
        <Progress value={progress * 100} aria-label={i18n.t('Sending the file')} />
      )}
      {state !== null && (
        <p role="status">
          {i18n.t('{readings} values stored, {refused} rows refused.', {
            readings: state.readings,
            refused: state.refused,
          })}
        </p>
      )}
      <Group justify="flex-end">
        {isBusy && (
          <Button variant="default" onClick={() => void end()}>
            {i18n.t('Cancel')}
          </Button>
        )}
        {state?.state === 'done' ? (
          <Button onClick={onDone}>{i18n.t('Close')}</Button>
        ) : (
          <>
            <Button
              variant="default"
              loading={looking.busy}
              disabled={file === null || plan === null || isBusy}
              onClick={() => file && plan && void look(file, plan)}
            >
              {i18n.t('Look at it')}
            </Button>
            <Button
              loading={isBusy}
              disabled={file === null || plan === null || shown === null}
              onClick={() => file && plan && void start(file, plan)}
            >
              {i18n.t('Import')}
            </Button>
          </>
        )}
      </Group>
    </div>
  )
}
