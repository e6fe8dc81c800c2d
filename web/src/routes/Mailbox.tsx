// The mailbox that requests of data subjects are read from: how to get there, and how it goes.
import { i18n } from '@lingui/core'
import { Button, PasswordInput, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { body, client } from '../api/client'
import { mailboxQuery, queryClient } from '../api/queries'
import type { Mailbox } from '../api/types'
import { Allowed } from '../app/Allowed'
import { Facts, Failure, Loading, Tag } from '../ui/layout'
import { Modal } from '../ui/overlays'
import { SubmitForm } from '../ui/SubmitForm'
import { Instant } from '../ui/time'

function problemLabel(problem: string): string {
  switch (problem) {
    case 'refused':
      return i18n.t('the address is not allowed here')
    case 'unreachable':
      return i18n.t('the mail server cannot be reached')
    case 'tls':
      return i18n.t('the mail server has no certificate that is trusted')
    case 'sign_in':
      return i18n.t('the mail server does not let this user in')
    case 'folder':
      return i18n.t('there is no such folder')
    case 'full':
      return i18n.t('so many requests wait that mails are left in it: close what can be closed')
    case 'failed':
      return i18n.t('it was read, and what came could not be taken in')
    default:
      return i18n.t('the mail server said what cannot be read')
  }
}

const refresh = () => queryClient.invalidateQueries({ queryKey: ['mailbox'] })

export function MailboxBlock() {
  const query = useQuery(mailboxQuery)
  const [changing, setChanging] = useState(false)
  const [error, setError] = useState<unknown>(null)
  if (query.isPending) return <Loading rows={1} />
  if (query.isError) return <Failure error={query.error} compact />
  const mailbox = query.data.mailbox
  const remove = async () => {
    try {
      setError(null)
      await client.DELETE('/v1/requests/mailbox', {})
      await refresh()
    } catch (failure) {
      setError(failure)
    }
  }
  return (
    <section className="block">
      <div className="block-head">
        <h2>{i18n.t('Requests by mail')}</h2>
        <Allowed to="request.fulfil">
          <Button size="xs" variant="default" onClick={() => setChanging(true)}>
            {mailbox === null ? i18n.t('Read a mailbox') : i18n.t('Change')}
          </Button>
          {mailbox !== null && (
            <Button size="xs" variant="default" onClick={() => void remove()}>
              {i18n.t('Read it no more')}
            </Button>
          )}
        </Allowed>
      </div>
      {error !== null && <Failure error={error} compact />}
      {mailbox === null ? (
        <p className="hint">
          {i18n.t(
            'No mailbox is read. What people write to it becomes a request, once; attachments are not kept, and mails of machines are passed by.',
          )}
        </p>
      ) : (
        <Facts
          items={[
            [i18n.t('Server'), mailbox.server],
            [i18n.t('User'), mailbox.user],
            [i18n.t('Folder'), mailbox.folder],
            [
              i18n.t('Last read'),
              mailbox.read_at === null ? i18n.t('not yet') : <Instant at={mailbox.read_at} />,
            ],
            [
              i18n.t('State'),
              mailbox.problem === null ? (
                i18n.t('works')
              ) : (
                <Tag tone="warn">{problemLabel(mailbox.problem)}</Tag>
              ),
            ],
          ]}
        />
      )}
      <Modal opened={changing} onClose={() => setChanging(false)} title={i18n.t('Requests by mail')}>
        <MailboxForm
          mailbox={mailbox}
          onDone={() => {
            setChanging(false)
            void refresh()
          }}
        />
      </Modal>
    </section>
  )
}

function MailboxForm(props: { mailbox: Mailbox | null; onDone: () => void }) {
  const { mailbox } = props
  const [server, setServer] = useState(mailbox?.server ?? '')
  const [user, setUser] = useState(mailbox?.user ?? '')
  const [folder, setFolder] = useState(mailbox?.folder ?? 'INBOX')
  const [password, setPassword] = useState('')
  const submit = () =>
    body(
      client.PUT('/v1/requests/mailbox', {
        headers: { 'if-match': `"${mailbox?.version ?? 0}"` },
        body: { server, user, folder, ...(password !== '' && { password }) },
      }),
    )
  return (
    <SubmitForm
      action={i18n.t('Save')}
      submit={submit}
      onDone={props.onDone}
      incomplete={server === '' || user === '' || (mailbox === null && password === '')}
    >
      <TextInput
        label={i18n.t('Mail server')}
        description={i18n.t('Host, with a port if it is not 993; over TLS only')}
        required
        value={server}
        onChange={(event) => setServer(event.currentTarget.value)}
      />
      <TextInput
        label={i18n.t('User')}
        required
        autoComplete="off"
        value={user}
        onChange={(event) => setUser(event.currentTarget.value)}
      />
      <PasswordInput
        label={i18n.t('Password')}
        {...(mailbox !== null && { description: i18n.t('Left empty, it stays as it is') })}
        autoComplete="new-password"
        value={password}
        onChange={(event) => setPassword(event.currentTarget.value)}
      />
      <TextInput
        label={i18n.t('Folder')}
        required
        value={folder}
        onChange={(event) => setFolder(event.currentTarget.value)}
      />
      <p className="hint">
        {i18n.t('What is in it already is left alone: mails that come from now on are read.')}
      </p>
    </SubmitForm>
  )
}
