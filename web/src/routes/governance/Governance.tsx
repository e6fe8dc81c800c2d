// The governance workspace: policies, risks, controls, evidence, tasks, certificates and notices.
import { i18n } from '@lingui/core'
import { Tabs } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'

import { onboardingQuery } from '../../api/governanceQueries'
import { useAllowed } from '../../app/Allowed'
import { useAppSearch, usePatchSearch } from '../../app/search'
import { Page, Tag } from '../../ui/layout'
import { Certificates } from './Certificates'
import { Controls } from './Controls'
import { EvidenceList } from './EvidenceList'
import { Notices } from './Notices'
import { Policies } from './Policies'
import { Risks } from './Risks'
import { Tasks } from './Tasks'

const TABS = ['policies', 'risks', 'controls', 'evidence', 'tasks', 'certificates', 'notices'] as const
/** What everybody of an organisation reads. */
const OPEN: readonly string[] = ['policies', 'certificates', 'notices']

export function GovernancePage() {
  const may = useAllowed()
  const search = useAppSearch()
  const patch = usePatchSearch()
  const shown = TABS.filter((one) => OPEN.includes(one) || may('governance.read'))
  const tab = shown.find((one) => one === search.tab) ?? 'policies'
  const labels = {
    policies: i18n.t('Policies'),
    risks: i18n.t('Risks'),
    controls: i18n.t('Controls'),
    evidence: i18n.t('Evidence'),
    tasks: i18n.t('Tasks'),
    certificates: i18n.t('Certificates'),
    notices: i18n.t('Notices'),
  }
  return (
    <Page
      title={i18n.t('Governance')}
      lead={i18n.t('Policies, risks, controls and the evidence for them. Each has a history.')}
    >
      {may('governance.read') && <Onboarding />}
      <Tabs
        value={tab}
        onChange={(value) => patch({ tab: value ?? undefined, select: undefined })}
        keepMounted={false}
      >
        <Tabs.List>
          {shown.map((one) => (
            <Tabs.Tab key={one} value={one}>
              {labels[one]}
            </Tabs.Tab>
          ))}
        </Tabs.List>
        <Tabs.Panel value="policies">
          <Policies />
        </Tabs.Panel>
        <Tabs.Panel value="risks">
          <Risks />
        </Tabs.Panel>
        <Tabs.Panel value="controls">
          <Controls />
        </Tabs.Panel>
        <Tabs.Panel value="evidence">
          <EvidenceList />
        </Tabs.Panel>
        <Tabs.Panel value="tasks">
          <Tasks />
        </Tabs.Panel>
        <Tabs.Panel value="certificates">
          <Certificates />
        </Tabs.Panel>
        <Tabs.Panel value="notices">
          <Notices />
        </Tabs.Panel>
      </Tabs>
    </Page>
  )
}

/** What of beginning is not done; nothing once all of it is. */
function Onboarding() {
  const query = useQuery(onboardingQuery)
  const open = (query.data?.items ?? []).filter((step) => !step.is_done)
  if (open.length === 0) return null
  const labels = {
    people: i18n.t('Invite a second person'),
    devices: i18n.t('Connect a device'),
    twin: i18n.t('Import a building'),
    rule: i18n.t('Make an alert rule'),
    policy: i18n.t('Write a policy'),
    risk: i18n.t('Write down a risk'),
    framework: i18n.t('Take a framework of controls'),
  }
  return (
    <section className="block" aria-label={i18n.t('Next steps')}>
      <h2>{i18n.t('Next steps')}</h2>
      <p className="governance-steps">
        {open.map((step) => (
          <Tag key={step.step}>{labels[step.step]}</Tag>
        ))}
      </p>
    </section>
  )
}
