// The choice of language, each in its own script.
import { i18n } from '@lingui/core'
import { NativeSelect } from '@mantine/core'

import { chooseLocale, isLocale, LOCALES } from '../i18n'

export function LanguageSelect(props: {
  /** Of somebody who is signed in: letters to them follow the choice. */
  onChosen?: (language: string) => void
}) {
  return (
    <NativeSelect
      size="xs"
      aria-label={i18n.t('Language')}
      value={i18n.locale}
      data={Object.entries(LOCALES).map(([value, label]) => ({ value, label }))}
      onChange={(event) => {
        const { value } = event.currentTarget
        if (!isLocale(value)) return
        void chooseLocale(value)
        props.onChosen?.(value)
      }}
    />
  )
}
