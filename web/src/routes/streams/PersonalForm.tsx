// Whose data a personal stream is: the person whose device it is, or whoever another series names.
import { i18n } from '@lingui/core'
import { Radio, TextInput } from '@mantine/core'
import { useState } from 'react'

import type { StreamSubjectInput } from '../../api/types'
import { SubmitForm } from '../../ui/SubmitForm'

export function PersonalForm(props: {
  submit: (subject: StreamSubjectInput) => Promise<void>
  onCancel: () => void
  /** Whether the person may be named: not for groups. */
  named?: boolean
}) {
  const [kind, setKind] = useState<'device' | 'field'>('device')
  const [text, setText] = useState('')
  const given = text.trim()
  const subject: StreamSubjectInput =
    kind === 'field' ? { kind, field: given } : { kind, ...(given && { person: given }) }
  return (
    <SubmitForm
      action={i18n.t('Declare')}
      submit={() => props.submit(subject)}
      incomplete={kind === 'field' && given === ''}
      onCancel={props.onCancel}
    >
      <p className="hint">
        {i18n.t('A personal stream names whose data it is, so that their rights reach each reading.')}
      </p>
      <Radio.Group
        aria-label={i18n.t('Whose data is it?')}
        value={kind}
        onChange={(value) => {
          setText('')
          setKind(value === 'field' ? 'field' : 'device')
        }}
      >
        <Radio value="device" label={i18n.t('Of the person whose device it is')} />
        <Radio value="field" label={i18n.t('Of whoever another stream names at the same time')} />
      </Radio.Group>
      {kind === 'field' && (
        <TextInput
          label={i18n.t('That stream')}
          placeholder="holder"
          required
          maxLength={256}
          value={text}
          onChange={(event) => setText(event.currentTarget.value)}
        />
      )}
      {kind === 'device' && props.named && (
        <TextInput
          label={i18n.t('Who that is (optional)')}
          maxLength={200}
          value={text}
          onChange={(event) => setText(event.currentTarget.value)}
        />
      )}
    </SubmitForm>
  )
}
