// What is kept of mail that was sent: the hash of its exact bytes, the server's reply, the keys that
// signed it and the leaf; and the DNS records of those keys.
import { i18n } from '@lingui/core'
import { useLingui } from '@lingui/react'
import { Button } from '@mantine/core'
import { useInfiniteQuery, useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useMemo, useState } from 'react'

import { mailKeysQuery, sentMailsQuery } from '../api/ledgerMailQueries'
import type { MailKey, SentMail } from '../api/types'
import { download } from '../lib/csv'
import { formatBytes, formatCount } from '../lib/format'
import { DataTable, type Column } from '../ui/DataTable'
import { CopyField, Empty, Facts, Failure, Loading, Tag } from '../ui/layout'
import { Drawer } from '../ui/overlays'
import { Age, Instant } from '../ui/time'

function aboutLabel(about: string): string {
  switch (about) {
    case 'alert':
      return i18n.t('Alert')
    case 'messages':
      return i18n.t('Routed messages')
    case 'ledger':
      return i18n.t('Checkpoint')
    default:
      return i18n.t('Other mail')
  }
}

function takeRecord(mail: SentMail): void {
  const bytes = Uint8Array.from(atob(mail.record), (letter) => letter.charCodeAt(0))
  download(`mail-${mail.id}.json`, 'application/json', bytes)
}

export function SentMails() {
  const { i18n: lingui } = useLingui()
  const query = useInfiniteQuery(sentMailsQuery)
  const [opened, setOpened] = useState<SentMail | null>(null)
  const mails = useMemo(() => query.data?.pages.flatMap((page) => page.items) ?? [], [query.data])
  const columns = useMemo<Column<SentMail>[]>(
    () => [
      {
        id: 'sent',
        header: i18n.t('Sent'),
        cell: (mail) => (
          <button type="button" className="link-button" onClick={() => setOpened(mail)}>
            <Age at={mail.sent_at} />
          </button>
        ),
      },
      { id: 'about', header: i18n.t('What'), cell: (mail) => aboutLabel(mail.about) },
      { id: 'to', header: i18n.t('To'), cell: (mail) => mail.to },
      {
        id: 'reply',
        header: i18n.t('Receipt'),
        give: 'first',
        cell: (mail) => <code>{mail.code}</code>,
      },
      {
        id: 'leaf',
        header: i18n.t('Entry'),
        align: 'end',
        give: 'second',
        cell: (mail) =>
          mail.leaf === null ? (
            <span className="dim">{i18n.t('waits to be sealed')}</span>
          ) : (
            <Link to="/ledger" search={{ select: String(mail.leaf) }} className="num">
              {formatCount(mail.leaf, lingui.locale)}
            </Link>
          ),
      },
    ],
    [lingui.locale],
  )
  return (
    <section className="block" aria-label={i18n.t('Mail that was sent')}>
      <h2>{i18n.t('Mail that was sent')}</h2>
      <p className="dim">
        {i18n.t(
          'Of each mail in the organisation’s name the hash of its exact bytes, the mail server’s reply and the signing keys are kept, and their digest is sealed.',
        )}
      </p>
      {query.isPending && <Loading rows={3} />}
      {query.isError && <Failure error={query.error} retry={() => void query.refetch()} />}
      {query.isSuccess && mails.length === 0 && (
        <Empty icon="activity" title={i18n.t('No mail was sent yet')}>
          {i18n.t('The first one appears here once the mail server has taken it.')}
        </Empty>
      )}
      {mails.length > 0 && (
        <DataTable
          label={i18n.t('Mail that was sent')}
          rows={mails}
          columns={columns}
          rowId={(mail) => mail.id}
          onOpen={setOpened}
          isSelected={(mail) => mail.id === opened?.id}
          partial={query.hasNextPage}
        />
      )}
      {query.hasNextPage && (
        <Button
          size="xs"
          variant="default"
          loading={query.isFetchingNextPage}
          onClick={() => void query.fetchNextPage()}
        >
          {i18n.t('Older mail')}
        </Button>
      )}
      <Drawer
        opened={opened !== null}
        onClose={() => setOpened(null)}
        position="right"
        title={i18n.t('Receipt of a mail')}
      >
        {opened !== null && <Receipt mail={opened} />}
      </Drawer>
    </section>
  )
}

function Receipt({ mail }: { mail: SentMail }) {
  const { i18n: lingui } = useLingui()
  return (
    <div className="stack">
      <Facts
        items={[
          [i18n.t('What'), aboutLabel(mail.about)],
          [i18n.t('To'), mail.to],
          [i18n.t('Sent'), <Instant key="s" at={mail.sent_at} />],
          [
            i18n.t('Size'),
            <span key="b" className="num">
              {formatBytes(mail.bytes, lingui.locale)}
            </span>,
          ],
          [
            i18n.t('Reply of the mail server'),
            <code key="r" lang="en">
              {mail.code} {mail.reply}
            </code>,
          ],
          [
            i18n.t('Entry'),
            mail.leaf === null ? (
              <span key="l" className="dim">
                {i18n.t('waits to be sealed')}
              </span>
            ) : (
              <Link key="l" to="/ledger" search={{ select: String(mail.leaf) }} className="num">
                {formatCount(mail.leaf, lingui.locale)}
              </Link>
            ),
          ],
        ]}
      />
      <CopyField label={i18n.t('SHA-256 of the mail')} text={mail.sha256} />
      {mail.dkim.map((record) => (
        <CopyField key={record} multiline label={i18n.t('Signed with')} text={record} />
      ))}
      <div>
        <Button variant="default" onClick={() => takeRecord(mail)}>
          {i18n.t('Download the record')}
        </Button>
      </div>
      <p className="dim">
        {i18n.t('`veritwin ledger receipts FOLDER` verifies the mails that an auditor has kept.')}
      </p>
    </div>
  )
}

function stateLabel(state: string): string {
  switch (state) {
    case 'next':
      return i18n.t('next: publish it first')
    case 'active':
      return i18n.t('in use')
    default:
      return i18n.t('retired: leave it published')
  }
}

export function MailKeys() {
  const query = useQuery(mailKeysQuery)
  return (
    <section className="block" aria-label={i18n.t('Keys that sign mail')}>
      <h2>{i18n.t('Keys that sign mail')}</h2>
      <p className="dim">
        {i18n.t('Publish these DNS records of type TXT, so that receivers can check signatures.')}
      </p>
      {query.isPending && <Loading rows={2} />}
      {query.isError && <Failure error={query.error} retry={() => void query.refetch()} />}
      {query.data?.items.length === 0 && (
        <p className="hint">{i18n.t('No mail server is configured, so nothing is signed.')}</p>
      )}
      {query.data?.items.map((key) => <KeyRecord key={`${key.name} ${key.algorithm}`} of={key} />)}
    </section>
  )
}

function KeyRecord({ of: key }: { of: MailKey }) {
  return (
    <div className="stack">
      <p className="row">
        <code>{key.algorithm}</code>
        <Tag tone={key.state === 'next' ? 'warn' : 'neutral'}>{stateLabel(key.state)}</Tag>
      </p>
      <CopyField label={i18n.t('Name')} text={key.name} />
      <CopyField multiline label={i18n.t('Text')} text={key.record} />
    </div>
  )
}
