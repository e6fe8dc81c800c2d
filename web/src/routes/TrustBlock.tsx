// The trust page: whether anybody can read it, where it is, and publishing and withdrawing it.
import { i18n } from '@lingui/core'
import { Button } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { body, client } from '../api/client'
import { queryClient, sessionQuery, trustPagesQuery } from '../api/queries'
import { Allowed } from '../app/Allowed'
import { ConfirmTyped } from '../ui/dialogs'
import { CopyField, Failure, Tag } from '../ui/layout'
import { Age } from '../ui/time'

type Act = 'publish' | 'withdraw'

export function TrustBlock() {
  const query = useQuery(trustPagesQuery)
  const name = useQuery(sessionQuery).data?.tenant.name ?? ''
  const [asking, setAsking] = useState<Act | null>(null)
  const page = query.data?.items[0]
  const published = page?.published === true
  const refresh = () => queryClient.invalidateQueries({ queryKey: ['trust-pages'] })
  const publish = async () => {
    await body(client.POST('/v1/trust-pages', { body: { confirm: name } }))
    await refresh()
  }
  const withdraw = async () => {
    await body(client.POST('/v1/trust-pages/withdraw'))
    await refresh()
  }
  return (
    <section className="block">
      <div className="block-head">
        <h2>{i18n.t('Trust page')}</h2>
        <Allowed to="register.write">
          <Button
            size="xs"
            variant="default"
            disabled={query.data === undefined}
            onClick={() => setAsking(published ? 'withdraw' : 'publish')}
          >
            {published ? i18n.t('Withdraw the page') : i18n.t('Publish the page')}
          </Button>
        </Allowed>
      </div>
      <p className="hint">
        {i18n.t(
          'A signed file for outsiders: every promise with its state and its evidence, sub-processors and regions. Anybody checks it offline with “veritwin verify”.',
        )}
      </p>
      {query.isError && <Failure error={query.error} retry={() => void query.refetch()} compact />}
      {query.data !== undefined && !published && (
        <p className="dim">{i18n.t('No page is published.')}</p>
      )}
      {page !== undefined && published && (
        <>
          <p>
            <Tag>{i18n.t('published')}</Tag>{' '}
            <a href={page.path} target="_blank" rel="noreferrer">
              {i18n.t('Open the page')}
            </a>{' '}
            <span className="dim">
              {i18n.t('made')} <Age at={page.made_at} />
            </span>
          </p>
          <CopyField label="SHA-256" text={page.sha256} />
        </>
      )}
      <ConfirmTyped
        opened={asking === 'publish'}
        title={i18n.t('Publish the trust page')}
        name={name}
        action={i18n.t('Publish the page')}
        onConfirm={publish}
        onClose={() => setAsking(null)}
      >
        {i18n.t(
          'Anybody who knows its address reads what your registers say of sub-processors and regions, and how each promise stands, broken ones too. It is made anew every day.',
        )}
      </ConfirmTyped>
      <ConfirmTyped
        opened={asking === 'withdraw'}
        title={i18n.t('Withdraw the trust page')}
        name={name}
        action={i18n.t('Withdraw the page')}
        onConfirm={withdraw}
        onClose={() => setAsking(null)}
      >
        {i18n.t('Its address answers like one that was never there. Copies stay with others.')}
      </ConfirmTyped>
    </section>
  )
}
