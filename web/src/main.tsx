// Entry of the web front-end: language, theme and router, then the first page.
import './theme/layers.css'
import '@mantine/core/styles.layer.css'
import './theme/tokens.css'
import './theme/base.css'
import './theme/marks.css'
import './theme/tables.css'
import './theme/shell.css'
import './theme/centre.css'
import './theme/details.css'
import './theme/device.css'
import './theme/pages.css'
import './theme/partners.css'
import './theme/access.css'

import { i18n } from '@lingui/core'
import { I18nProvider, useLingui } from '@lingui/react'
import { MantineProvider } from '@mantine/core'
import { QueryClientProvider } from '@tanstack/react-query'
import { RouterProvider } from '@tanstack/react-router'
import { StrictMode } from 'react'
import { setNonce } from 'get-nonce'
import { createRoot } from 'react-dom/client'

import { queryClient } from './api/queries'
import { router } from './app/router'
import { activate, initialLocale } from './i18n'
import { cssVariables, theme } from './theme/theme'

const nonce = document.querySelector<HTMLMetaElement>('meta[name="csp-nonce"]')?.content ?? ''
// Dialogs lock scrolling through a style element of their own.
setNonce(nonce)

/** Another language means another tree: every text on the page is made anew. */
function Localised() {
  const { i18n: lingui } = useLingui()
  return <RouterProvider key={lingui.locale} router={router} />
}

await activate(initialLocale())
const root = document.getElementById('root')
if (root === null) throw new Error('index.html has no #root')
createRoot(root).render(
  <StrictMode>
    <MantineProvider
      theme={theme}
      cssVariablesResolver={cssVariables}
      defaultColorScheme="auto"
      getStyleNonce={() => nonce}
    >
      <I18nProvider i18n={i18n}>
        <QueryClientProvider client={queryClient}>
          <Localised />
        </QueryClientProvider>
      </I18nProvider>
    </MantineProvider>
  </StrictMode>,
)
