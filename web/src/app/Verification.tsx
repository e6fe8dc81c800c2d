// Runs the verification of a ledger entry in this browser and shows each step in plain words.
import { i18n } from '@lingui/core'
import { Button } from '@mantine/core'
import { useState } from 'react'

import { queryClient, proofQuery } from '../api/queries'
import type { LedgerProof } from '../api/types'
import { download } from '../lib/csv'
import { shorten } from '../lib/format'
import { verifyRecord, type RecordOpening, type RecordStep, type Shown } from '../verify/record'
import { Icon, SealIcon } from '../ui/icons'
import { Failure } from '../ui/layout'
import {
  fromBase64,
  overall,
  verifyEntry,
  type Outcome,
  type Step,
  type StepName,
} from '../verify/verify'

type AnyStep = Step | RecordStep

function stepText(name: StepName | RecordStep['name']): string {
  switch (name) {
    case 'record':
      return i18n.t('The record lies under the leaf’s records root')
    case 'reading':
      return i18n.t('The record states the shown device, credential, time, value and quality')
    case 'leaf':
      return i18n.t('The entry hashes to its leaf')
    case 'root':
      return i18n.t('Leaf and path lead to a tree root')
    case 'checkpoint':
      return i18n.t('The checkpoint states this root and size')
    case 'signature':
      return i18n.t('The log’s key signed the checkpoint')
  }
}

function outcomeText(outcome: Outcome): string {
  switch (outcome) {
    case 'passed':
      return i18n.t('holds')
    case 'failed':
      return i18n.t('does not hold')
    case 'unavailable':
      return i18n.t('cannot be checked in this browser')
  }
}

function verdict(outcome: Outcome, value: boolean): string {
  switch (outcome) {
    case 'passed':
      return value
        ? i18n.t('Verified here, in this browser, just now: the shown reading is in the log.')
        : i18n.t('Verified here, in this browser, just now: the batch is in the log.')
    case 'failed':
      return i18n.t(
        'This entry does not verify. Keep the proof and tell an administrator: either the record or the proof was altered.',
      )
    case 'unavailable':
      return i18n.t(
        'The hashes hold, but this browser cannot check Ed25519 signatures. Verify offline with the command line.',
      )
  }
}

const MARKS = { passed: '✓', failed: '✕', unavailable: '?' } as const

/** What the check does not cover; `ofBatch`: beside a value whose record was not proven. */
function Bounds(props: { vkey: string; ofBatch: boolean }) {
  return (
    <div className="dim">
      {props.ofBatch && (
        <p>
          {i18n.t(
            'Checked is the ledger entry of the batch. That the batch holds the value above is what this server says.',
          )}
        </p>
      )}
      <p>
        {i18n.t(
          'The verifier key came from this server too. Compare it with the one you keep, or verify with the command line:',
        )}
      </p>
      <code className="root-hash">{props.vkey}</code>
    </div>
  )
}

/** Of a leaf; with `reading`, also of what is shown of it. */
export function Verification(props: {
  index: number
  reading?: { opening: RecordOpening; shown: Shown }
  /** It stands beside a single value. */
  ofReading?: boolean
}) {
  const [steps, setSteps] = useState<AnyStep[] | null>(null)
  const [proof, setProof] = useState<LedgerProof | null>(null)
  const [error, setError] = useState<unknown>(null)
  const [busy, setBusy] = useState(false)
  const run = async () => {
    setBusy(true)
    setError(null)
    try {
      const found = await queryClient.fetchQuery(proofQuery(props.index))
      const mismatch = found.index !== props.index
      setProof(found)
      const entry = await verifyEntry(mismatch ? { ...found, index: props.index } : found)
      const { reading } = props
      setSteps(
        reading === undefined
          ? entry
          : [
              ...(await verifyRecord(fromBase64(found.leaf), reading.opening, reading.shown)),
              ...entry,
            ],
      )
    } catch (failure) {
      setError(failure)
    } finally {
      setBusy(false)
    }
  }
  const outcome = steps && overall(steps)
  return (
    <div className="verification">
      <div className="row">
        <Button
          size="xs"
          onClick={() => void run()}
          loading={busy}
          leftSection={<SealIcon size={16} />}
        >
          {i18n.t('Verify in this browser')}
        </Button>
        {proof && (
          <Button
            size="xs"
            variant="default"
            leftSection={<Icon name="download" size={14} />}
            onClick={() =>
              download(
                `entry-${props.index}-proof.json`,
                'application/json',
                JSON.stringify(proof, null, 2),
              )
            }
          >
            {i18n.t('Download the proof')}
          </Button>
        )}
      </div>
      {error !== null && <Failure error={error} compact />}
      <div aria-live="polite">
        {steps && outcome && (
          <>
            <p className="verdict" data-outcome={outcome}>
              <span aria-hidden="true">{MARKS[outcome]}</span> {verdict(outcome, props.reading !== undefined)}
            </p>
            <ol className="steps">
              {steps.map((step) => (
                <li key={step.name} data-outcome={step.outcome}>
                  <span className="step-mark" aria-hidden="true">
                    {MARKS[step.outcome]}
                  </span>
                  <span>
                    {stepText(step.name)}: {outcomeText(step.outcome)}
                    <code title={step.detail}>{shorten(step.detail, 18)}</code>
                  </span>
                </li>
              ))}
            </ol>
            {proof && <Bounds vkey={proof.vkey} ofBatch={props.ofReading === true && props.reading === undefined} />}
          </>
        )}
      </div>
    </div>
  )
}
