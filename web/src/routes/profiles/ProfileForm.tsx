// A profile of devices: its decoder, whom and what it is for, and the test bench beside it.
import { i18n } from '@lingui/core'
import { Button, Menu, Switch, TagsInput, Textarea, TextInput } from '@mantine/core'
import { useState } from 'react'

import { body, client, ifUnchanged } from '../../api/client'
import type { DeviceProfile, DeviceProfileSettings } from '../../api/types'
import { decoderExamples } from '../../lib/decoderExamples'
import { CodeArea } from '../../ui/CodeArea'
import { SubmitForm } from '../../ui/SubmitForm'
import { TestBench, useTried } from './TestBench'

const TELEMETRY = 'v1/devices/me/telemetry'

function newSettings(): DeviceProfileSettings {
  return {
    name: '',
    description: '',
    enabled: true,
    source: '',
    topics: [TELEMETRY],
    decodes_json: false,
    device_types: [],
    samples: [],
  }
}

export function ProfileForm(props: {
  profile: DeviceProfile | null
  onDone: () => void
  onCancel: () => void
  onReload: () => void
}) {
  const { profile } = props
  const [settings, setSettings] = useState(profile?.settings ?? newSettings())
  const change = (part: Partial<DeviceProfileSettings>) =>
    setSettings((before) => ({ ...before, ...part }))
  const tried = useTried(settings.source, settings.samples)
  // An example takes the place of nothing that somebody wrote.
  const isWritten =
    settings.source.trim() !== '' &&
    !decoderExamples().some((example) => example.source === settings.source)
  // Without a sample it is tried on nothing, which only says whether it is a script.
  const isTried = settings.samples.length > 0
  const fault =
    tried.results.find(({ fault: one }) => one !== null && (isTried || one.kind === 'source'))
      ?.fault ?? null
  const save = () =>
    profile === null
      ? body(client.POST('/v1/device-profiles', { body: settings }))
      : body(
          client.PUT('/v1/device-profiles/{id}', {
            params: { path: { id: profile.id } },
            body: settings,
            ...ifUnchanged(profile),
          }),
        )
  return (
    <>
      <SubmitForm
        action={i18n.t('Save')}
        submit={save}
        onDone={props.onDone}
        onCancel={props.onCancel}
        onReload={props.onReload}
        incomplete={settings.name.trim() === '' || settings.topics.length === 0}
      >
        <TextInput
          label={i18n.t('Name')}
          value={settings.name}
          maxLength={100}
          onChange={(event) => change({ name: event.currentTarget.value })}
        />
        <Textarea
          label={i18n.t('Description')}
          value={settings.description}
          maxLength={1000}
          autosize
          maxRows={6}
          onChange={(event) => change({ description: event.currentTarget.value })}
        />
        <TagsInput
          label={i18n.t('Device types')}
          description={i18n.t('All their devices have this profile, unless one has its own.')}
          value={settings.device_types}
          maxTags={50}
          onChange={(device_types) => change({ device_types })}
        />
        <TagsInput
          label={i18n.t('Topics')}
          description={i18n.t('Filters with + and #. Over HTTP the topic is {topic}.', {
            topic: TELEMETRY,
          })}
          value={settings.topics}
          maxTags={16}
          onChange={(topics) => change({ topics })}
        />
        <Switch
          label={i18n.t('Decode payloads by it')}
          checked={settings.enabled}
          onChange={(event) => change({ enabled: event.currentTarget.checked })}
        />
        <Switch
          label={i18n.t('Decode JSON, too')}
          description={i18n.t('Otherwise JSON is taken as it comes.')}
          checked={settings.decodes_json}
          onChange={(event) => change({ decodes_json: event.currentTarget.checked })}
        />
        <CodeArea
          label={i18n.t('Decoder')}
          value={settings.source}
          marked={fault?.line ?? null}
          onChange={(source) => change({ source })}
        />
        <Menu>
          <Menu.Target>
            <Button size="xs" variant="default" className="self-start" disabled={isWritten}>
              {i18n.t('Begin with an example')}
            </Button>
          </Menu.Target>
          <Menu.Dropdown>
            {decoderExamples().map((example) => (
              <Menu.Item
                key={example.id}
                onClick={() =>
                  change({
                    source: example.source,
                    decodes_json: example.decodesJson,
                    samples: [example.sample],
                  })
                }
              >
                {example.label}
              </Menu.Item>
            ))}
          </Menu.Dropdown>
        </Menu>
      </SubmitForm>
      <TestBench
        samples={settings.samples}
        tried={tried}
        onChange={(samples) => change({ samples })}
      />
    </>
  )
}
