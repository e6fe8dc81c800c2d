// What is optional at sign-up: one box for each purpose, none ticked, each with its own field.
import { i18n } from '@lingui/core'
import { Checkbox, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'

import { client } from '../api/client'
import { legalQuery } from '../api/privacyQueries'
import { toast } from '../ui/toasts'
import { fieldHint, fieldLabel, recipientLabel } from './privacyWords'

/** What was ticked: the purpose with the version that was read and the field's value. */
export type Ticked = Record<string, { version: number; value: string }>

export function OptionalConsents(props: { ticked: Ticked; onChange: (ticked: Ticked) => void }) {
  const text = useQuery(legalQuery('privacy', i18n.locale)).data
  const asked = text?.purposes.filter((one) => one.asked) ?? []
  const change = (id: string, to: Ticked[string] | undefined) => {
    const rest = Object.entries(props.ticked).filter(([known]) => known !== id)
    props.onChange(Object.fromEntries(to ? [...rest, [id, to]] : rest))
  }
  return (
    <fieldset className="stack plain">
      <legend>{i18n.t('Optional')}</legend>
      <p className="dim">
        {i18n.t('You get the same service without it, and can take it back at any time.')}
      </p>
      {asked.map((one) => {
        const ticked = props.ticked[one.id]
        return (
          <div key={one.id} className="stack">
            <Checkbox
              label={one.title}
              description={`${one.text} ${i18n.t('Who receives it: {names}', {
                names: one.recipients.map(recipientLabel).join(', '),
              })}`}
              checked={ticked !== undefined}
              onChange={(event) =>
                change(
                  one.id,
                  event.currentTarget.checked ? { version: one.version, value: '' } : undefined,
                )
              }
            />
            {ticked && (
              <TextInput
                label={fieldLabel(one.field)}
                description={fieldHint(one.field)}
                type={one.field === 'phone' ? 'tel' : 'text'}
                autoComplete={one.field === 'phone' ? 'tel' : 'street-address'}
                value={ticked.value}
                required
                onChange={(event) =>
                  change(one.id, { ...ticked, value: event.currentTarget.value })
                }
              />
            )}
          </div>
        )
      })}
      <p className="dim">
        {i18n.t('What we process, for what, who receives it and your rights:')}{' '}
        <Link to="/legal/$document" params={{ document: 'privacy' }} target="_blank">
          {i18n.t('Privacy policy')}
        </Link>
      </p>
    </fieldset>
  )
}

/** Gives what was ticked, once there is a session. What fails is told; sign-up goes on. */
export async function giveTicked(ticked: Ticked): Promise<void> {
  for (const [purpose, { version, value }] of Object.entries(ticked)) {
    try {
      await client.POST('/v1/account/consents', { body: { purpose, version, value } })
    } catch {
      toast(i18n.t('An optional consent was not recorded: you can give it in the settings.'))
    }
  }
}
