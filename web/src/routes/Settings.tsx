// Settings: one's account, this browser, colleagues, API keys, and what a device has to trust.
import { i18n } from '@lingui/core'
import { SegmentedControl, useMantineColorScheme } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'

import { client } from '../api/client'
import { keysQuery } from '../api/keyQueries'
import { ProblemError } from '../api/problem'
import { sessionQuery, systemQuery } from '../api/queries'
import { useMay } from '../app/places'
import { CopyField, Facts, Failure, InEnglish, Loading, Page, TableScroll, Tag } from '../ui/layout'
import { Age, Instant } from '../ui/time'
import { toast } from '../ui/toasts'
import { LanguageSelect } from './LanguageSelect'
import { tenantsQuery } from './partners/queries'
import { AccountBlocks } from './settings/Account'
import { ApiKeys } from './settings/ApiKeys'
import { CustomerKeyBlock } from './settings/CustomerKey'
import { Networks } from './settings/Networks'
import { Newcomers } from './settings/Newcomers'
import { People } from './settings/People'
import { ProviderBlock } from './settings/Provider'
import { PlanKeeps } from './settings/PlanKeeps'
import { PrivacyBlock } from './settings/Privacy'

export function SettingsPage() {
  const session = useQuery(sessionQuery)
  const may = useMay()
  return (
    <Page
      title={i18n.t('Settings')}
      lead={session.data && `${session.data.tenant.name} · ${session.data.user.email}`}
      actions={
        <>
          {may.whole('tenant.read') && (
            <Link to="/usage" className="button">
              {i18n.t('Usage')}
            </Link>
          )}
          {may.whole('system.read') && <OperationsLink />}
          {may.whole('retention.read') && (
            <Link to="/destruction" className="button">
              {i18n.t('Destruction')}
            </Link>
          )}
          {may.whole('tenant.read') && (
            <Link to="/what-ends-when" className="button">
              {i18n.t('What ends when')}
            </Link>
          )}
          {may.reviewsAccess && (
            <Link to="/access" className="button">
              {i18n.t('Roles and access')}
            </Link>
          )}
        </>
      }
    >
      <AccountBlocks />
      <PrivacyBlock />
      <div className="columns">
        <ThisBrowser />
        {may.whole('system.read') && <Trust />}
      </div>
      <div className="columns">
        {may.whole('user.list') && <People me={session.data?.user.id} />}
        {may.whole('api_key.list') && <ApiKeys />}
      </div>
      {may.whole('identity_provider.read') && <ProviderBlock />}
      {may.whole('tenant.read') && session.data && (
        <PlanKeeps tenant={session.data.tenant.id} />
      )}
      {may.whole('tenant.read') && <Networks />}
      {may.whole('provisioning.read') && <Newcomers />}
      {may.whole('key.read') && <CustomerKeyBlock />}
      {may.whole('key.read') && <Keys />}
    </Page>
  )
}

/** Only the platform's own administration has it. */
function OperationsLink() {
  const own = useQuery(tenantsQuery).data?.[0]
  if (own?.kind !== 'platform') return null
  return (
    <Link to="/operations" className="button">
      {i18n.t('Operations')}
    </Link>
  )
}

/** Letters and mails follow the language of the pages. */
async function writeIn(language: string) {
  try {
    await client.PATCH('/v1/account', { body: { language } })
  } catch (error) {
    toast(ProblemError.of(error).message)
  }
}

function ThisBrowser() {
  const { colorScheme, setColorScheme } = useMantineColorScheme()
  return (
    <section className="block">
      <h2>{i18n.t('This browser')}</h2>
      <div className="setting">
        <span>{i18n.t('Language')}</span>
        <LanguageSelect onChosen={(language) => void writeIn(language)} />
      </div>
      <div className="setting">
        <span>{i18n.t('Appearance')}</span>
        <SegmentedControl
          size="xs"
          aria-label={i18n.t('Appearance')}
          value={colorScheme}
          onChange={(value) => setColorScheme(value as 'light' | 'dark' | 'auto')}
          data={[
            { value: 'auto', label: i18n.t('As the system') },
            { value: 'light', label: i18n.t('Light') },
            { value: 'dark', label: i18n.t('Dark') },
          ]}
        />
      </div>
      <p className="dim">
        {i18n.t('Kept in this browser only. The one cookie holds your session.')}
      </p>
    </section>
  )
}

function Trust() {
  const query = useQuery(systemQuery)
  return (
    <section className="block">
      <h2>{i18n.t('What devices and browsers have to trust')}</h2>
      {query.isError && <Failure error={query.error} compact />}
      {query.isPending && <Loading rows={3} />}
      {query.data && (
        <>
          <Facts
            items={query.data.certificates.map((certificate) => [
              certificate.name,
              <span key={certificate.name}>
                {i18n.t('valid until')} <Instant at={certificate.not_after} />{' '}
                {certificate.own && <Tag>{i18n.t('your own')}</Tag>}
                {certificate.fingerprint && (
                  <code className="fingerprint">{certificate.fingerprint}</code>
                )}
              </span>,
            ])}
          />
          <CopyField
            multiline
            label={i18n.t('On the server')}
            text={'veritwin ca fingerprint\nveritwin ca export > ca.pem'}
          />
          <p className="dim">
            Veritwin {query.data.version} · {i18n.t('running since')}{' '}
            <Age at={query.data.started_at} />
            {query.data.simulated_clock && ` · ${i18n.t('simulated clock')}`}
          </p>
        </>
      )}
    </section>
  )
}

function Keys() {
  const query = useQuery(keysQuery)
  return (
    <section className="block">
      <h2>{i18n.t('Which key protects what')}</h2>
      {query.isPending && <Loading rows={3} />}
      {query.isError && <Failure error={query.error} compact />}
      <TableScroll label={i18n.t('Which key protects what')}>
        <table className="table">
          <thead>
            <tr>
              <th>{i18n.t('Sealing key')}</th>
              <th>{i18n.t('Protects')}</th>
              <th>{i18n.t('Version')}</th>
              <th>{i18n.t('State')}</th>
              <th>{i18n.t('Made')}</th>
            </tr>
          </thead>
          <tbody>
            {query.data?.items.map((key) => (
              <tr key={key.name}>
                <td lang="en">{key.name}</td>
                <td lang="en">{key.protects}</td>
                <td className="num">{key.version}</td>
                <td lang="en">{key.state}</td>
                <td>
                  <Age at={key.created_at} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </TableScroll>
      <InEnglish />
    </section>
  )
}
