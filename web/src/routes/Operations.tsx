// What the platform can go back to, and whether what it stores reads back as it was written.
import { i18n } from '@lingui/core'
import { useLingui } from '@lingui/react'
import { useQuery } from '@tanstack/react-query'

import { operationsQuery } from '../api/usageQueries'
import type { Operations, ScrubFinding, ScrubRun } from '../api/types'
import { formatBytes, formatCount } from '../lib/format'
import { Facts, Failure, InEnglish, Loading, Page, Tag } from '../ui/layout'
import { Instant } from '../ui/time'

export function OperationsPage() {
  const query = useQuery(operationsQuery)
  return (
    <Page
      title={i18n.t('Operations')}
      lead={i18n.t('What this platform can go back to, and whether what is stored reads back.')}
    >
      {query.isPending && <Loading rows={6} />}
      {query.isError && <Failure error={query.error} retry={() => void query.refetch()} />}
      {query.data && (
        <>
          <div className="columns">
            <Backups data={query.data} />
            <Shipping shipping={query.data.shipping} />
          </div>
          <Stored data={query.data} />
        </>
      )}
    </Page>
  )
}

function Backups({ data }: { data: Operations }) {
  const { i18n: lingui } = useLingui()
  return (
    <section className="block">
      <h2>{i18n.t('Backups')}</h2>
      {data.backup === null ? (
        <p className="dim">{i18n.t('No backup was made yet.')}</p>
      ) : (
        <Facts
          items={[
            [i18n.t('Last backup'), <Instant key="at" at={data.backup.taken_at} />],
            [i18n.t('Folder'), <code key="folder">{data.backup.folder}</code>],
            [i18n.t('Size'), formatBytes(data.backup.bytes, lingui.locale)],
          ]}
        />
      )}
      {data.keyring === null ? (
        <p className="dim">{i18n.t('No copy of the keyring was made yet. Without one no backup can be read.')}</p>
      ) : (
        <Facts
          items={[
            [i18n.t('Last copy of the keyring'), <Instant key="at" at={data.keyring.taken_at} />],
            [i18n.t('A restore takes it until'), <Instant key="end" at={data.keyring.expires_at} />],
          ]}
        />
      )}
    </section>
  )
}

function Shipping({ shipping }: { shipping: Operations['shipping'] }) {
  return (
    <section className="block">
      <h2>{i18n.t('Shipped log')}</h2>
      {shipping === null ? (
        <p className="dim">
          {i18n.t('The log is not shipped: a restore goes back to the last backup only.')}
        </p>
      ) : (
        <>
          <Facts
            items={[
              [i18n.t('To'), <code key="place">{shipping.place}</code>],
              [i18n.t('Complete up to'), <Instant key="reached" at={shipping.reached_at} />],
              [i18n.t('Records of'), <Instant key="records" at={shipping.records_at} />],
            ]}
          />
          {shipping.problem !== null && (
            <p role="alert">
              <Tag tone="warn">{i18n.t('Fails')}</Tag> {shipping.problem}
            </p>
          )}
          {shipping.gap_at !== null && (
            <p role="alert">
              <Tag tone="warn">{i18n.t('Gap')}</Tag>{' '}
              {i18n.t('A part of the log was cut before it was shipped. Make a new backup.')}
            </p>
          )}
        </>
      )}
    </section>
  )
}

function Stored({ data }: { data: Operations }) {
  const run = data.last
  return (
    <section className="block">
      <h2>{i18n.t('Stored data')}</h2>
      {data.running !== null && <Progress run={data.running} />}
      {run === null ? (
        <p className="dim">{i18n.t('Not everything was read and compared yet.')}</p>
      ) : (
        <Outcome run={run} />
      )}
      {data.next_at !== null && data.running === null && (
        <p className="dim">
          {i18n.t('Next time:')} <Instant at={data.next_at} />
        </p>
      )}
    </section>
  )
}

function Progress({ run }: { run: ScrubRun }) {
  const { i18n: lingui } = useLingui()
  return (
    <p>
      <Tag>{i18n.t('Reading')}</Tag>{' '}
      {i18n.t('{bytes} so far', { bytes: formatBytes(run.bytes, lingui.locale) })}
    </p>
  )
}

function Outcome({ run }: { run: ScrubRun }) {
  const { i18n: lingui } = useLingui()
  const lost = run.findings.some((finding) => finding.loss)
  return (
    <>
      <Facts
        items={[
          [
            i18n.t('State'),
            lost ? (
              <Tag key="state" tone="warn">
                {i18n.t('Damaged')}
              </Tag>
            ) : (
              <Tag key="state">{i18n.t('Everything reads back')}</Tag>
            ),
          ],
          [i18n.t('Read until'), <Instant key="end" at={run.ended_at} />],
          [i18n.t('Read'), formatBytes(run.bytes, lingui.locale)],
          [i18n.t('Not readable now, their keys are withdrawn'), formatCount(run.closed, lingui.locale)],
        ]}
      />
      {run.findings.length + run.skipped.length > 0 && (
        <>
          <InEnglish />
          <ul className="plain">
            {run.findings.map((finding, index) => (
              <Found key={index} finding={finding} />
            ))}
            {run.skipped.map((skipped) => (
              <li key={skipped} className="block" lang="en">
                {skipped}
              </li>
            ))}
          </ul>
        </>
      )}
    </>
  )
}

function Found({ finding }: { finding: ScrubFinding }) {
  return (
    <li className="block" lang="en">
      <p>
        <code>{finding.file}</code>
        {finding.byte !== null && <> {i18n.t('byte {byte}', { byte: finding.byte })}</>}
      </p>
      <p>{finding.problem}</p>
      {finding.from !== null && (
        <p className="dim">
          <Instant at={finding.from} age={false} /> – <Instant at={finding.to} age={false} />
        </p>
      )}
      <p className="dim">{finding.advice}</p>
    </li>
  )
}
