// Entry of the web front-end: language, theme and router, then the first page.
import '@mantine/core/styles.layer.css'
import './theme/tokens.css'
import './theme/base.css'

import { i18n } from '@lingui/core'
import { I18nProvider } from '@lingui/react'
import { MantineProvider } from '@mantine/core'
import { createRoot } from 'react-dom/client'
import * as z from 'zod'

import { activate, initialLocale } from './i18n'
import { cssVariables, theme } from './theme/theme'

// Compiled validators would need eval, which the content security policy forbids.
z.config({ jitless: true })

const nonce = document.querySelector<HTMLMetaElement>('meta[name="csp-nonce"]')?.content ?? ''

await activate(initialLocale())
const root = document.getElementById('root')
if (root === null) throw new Error('index.html has no #root')
createRoot(root).render(
  <MantineProvider
    theme={theme}
    cssVariablesResolver={cssVariables}
    defaultColorScheme="auto"
    getStyleNonce={() => nonce}
  >
    <I18nProvider i18n={i18n}>
      <main>{i18n.t('Veritwin')}</main>
    </I18nProvider>
  </MantineProvider>,
)
