// Language: chosen by the person, else by the browser. Catalogues are compiled at build time and
// loaded one at a time.
import { i18n } from '@lingui/core'

export const LOCALES = { en: 'English', 'zh-Hant': '繁體中文', ja: '日本語', ko: '한국어' } as const
export type Locale = keyof typeof LOCALES

const STORAGE_KEY = 'veritwin.locale'

export function isLocale(value: unknown): value is Locale {
  return typeof value === 'string' && Object.hasOwn(LOCALES, value)
}

/** The best of our languages for a list of BCP 47 tags. */
export function negotiate(wanted: readonly string[]): Locale {
  for (const tag of wanted) {
    const primary = tag.toLowerCase().split('-')[0]
    if (primary === 'zh') return 'zh-Hant'
    if (primary === 'ja' || primary === 'ko' || primary === 'en') return primary
  }
  return 'en'
}

export function initialLocale(): Locale {
  const stored = localStorage.getItem(STORAGE_KEY)
  return isLocale(stored) ? stored : negotiate(navigator.languages)
}

export async function activate(locale: Locale): Promise<void> {
  const { messages } = await catalogue(locale)
  i18n.loadAndActivate({ locale, messages })
  document.documentElement.lang = locale
}

export async function chooseLocale(locale: Locale): Promise<void> {
  localStorage.setItem(STORAGE_KEY, locale)
  await activate(locale)
}

function catalogue(locale: Locale) {
  switch (locale) {
    case 'zh-Hant':
      return import('./locales/zh-Hant')
    case 'ja':
      return import('./locales/ja')
    case 'ko':
      return import('./locales/ko')
    case 'en':
      return import('./locales/en')
  }
}
