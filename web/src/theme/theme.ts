// The Mantine theme over the design tokens: it adds no colour of its own.
import { createTheme, type CSSVariablesResolver, type MantineColorsTuple } from '@mantine/core'

const petrol: MantineColorsTuple = [
  '#eef5f3',
  '#d5e3df',
  '#b6d3cd',
  '#82c3ba',
  '#63aaa1',
  '#458d85',
  '#2c736c',
  '#1c5a55',
  '#154844',
  '#0d3431',
]

const gray: MantineColorsTuple = [
  '#f5f6f2',
  '#eceee8',
  '#e2e5de',
  '#d2d6cd',
  '#bcc2b8',
  '#aab1a6',
  '#8a938a',
  '#5f6a65',
  '#47514d',
  '#2a322f',
]
const dark: MantineColorsTuple = [
  '#e2e8e4',
  '#aeb9b4',
  '#8b9792',
  '#6c7a78',
  '#4a5655',
  '#2a3333',
  '#1b2121',
  '#131818',
  '#0c0f0f',
  '#080b0b',
]

export const theme = createTheme({
  primaryColor: 'petrol',
  primaryShade: { light: 7, dark: 3 },
  autoContrast: true,
  colors: { petrol, gray, dark },
  fontFamily: 'var(--font)',
  fontFamilyMonospace: 'var(--mono)',
  defaultRadius: 'var(--radius)',
  focusRing: 'auto',
  cursorType: 'pointer',
  respectReducedMotion: true,
  headings: { fontWeight: '600' },
  components: {
    Button: { defaultProps: { variant: 'filled' } },
    Modal: { defaultProps: { centered: true, radius: 'var(--radius-large)' } },
    Drawer: { defaultProps: { position: 'bottom' } },
    Tooltip: { defaultProps: { withArrow: false, openDelay: 300 } },
  },
})

export const cssVariables: CSSVariablesResolver = () => ({
  variables: {},
  light: surfaces(),
  dark: surfaces(),
})

function surfaces(): Record<string, string> {
  return {
    '--mantine-color-body': 'var(--raised)',
    '--mantine-color-text': 'var(--text)',
    '--mantine-color-dimmed': 'var(--text-2)',
    '--mantine-color-default': 'var(--raised)',
    '--mantine-color-default-hover': 'var(--hover)',
    '--mantine-color-default-color': 'var(--text)',
    '--mantine-color-default-border': 'var(--control)',
    '--mantine-color-placeholder': 'var(--text-3)',
    '--mantine-color-error': 'var(--critical)',
    '--mantine-color-anchor': 'var(--brand)',
  }
}
