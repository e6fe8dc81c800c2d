// The icon set: one stroke weight, 20 px grid, decorative (labels stand beside them).
const PATHS = {
  centre: 'M3 16.5V8l7-4.5L17 8v8.5zM7.5 16.5v-5h5v5',
  alerts: 'M10 3.2 17.5 16.5h-15zM10 8v4M10 14.2v.1',
  devices:
    'M4 4h12v12H4zM8 8h4v4H8zM8 1.8V4M12 1.8V4M8 16v2.2M12 16v2.2M1.8 8H4M1.8 12H4M16 8h2.2M16 12h2.2',
  streams: 'M2.5 7.5c2.5-3.5 5-3.5 7.5 0s5 3.5 7.5 0M2.5 13.5c2.5-3.5 5-3.5 7.5 0s5 3.5 7.5 0',
  twins: 'm10 2.5 6.5 3.7v7.6L10 17.5l-6.5-3.7V6.2zM3.7 6.3 10 10l6.3-3.7M10 10v7.3',
  rules: 'M3 14.5c3 0 3.5-9 7-9s4 9 7 9M3 9.5h14',
  routing: 'M3 10h5M8 10l5-5.500h4M8 10l5 5.500h4M14.5 2l2.500 2.500-2.500 2.500M14.5 13l2.500 2.500-2.500 2.500',
  ledger: 'M4.5 2.5h9l2 2v13h-11zM7.5 7h5M7.5 10h5M7.5 13h3',
  promises: 'M10 2.2 16.5 5v5c0 4-2.8 6.6-6.5 7.8C6.3 16.6 3.5 14 3.5 10V5zM7 10l2.2 2.3L13.2 8',
  activity: 'M2.5 10h3.500l2.5-6 3.5 12 2.5-6h3',
  incidents: 'M10 2.2 16.5 5v5c0 4-2.800 6.600-6.500 7.800C6.300 16.600 3.500 14 3.500 10V5zM10 6.500v4M10 13v.1',
  support:
    'M10 2.800a7.2 7.2 0 1 0 0 14.400 7.2 7.2 0 0 0 0-14.400M10 7a3 3 0 1 0 0 6 3 3 0 0 0 0-6M4.900 4.900l3 3M12.100 12.100l3 3M15.100 4.900l-3 3M7.900 12.100l-3 3',
  settings:
    'M3 6h7M14 6h3M3 14h3M10 14h7M10 6a2 2 0 1 0 4 0 2 2 0 1 0-4 0M6 14a2 2 0 1 0 4 0 2 2 0 1 0-4 0',
  search: 'M8.7 3a5.7 5.7 0 1 0 0 11.400A5.7 5.7 0 0 0 8.7 3M13 13l4.2 4.2',
  close: 'm5 5 10 10M15 5 5 15',
  chevron: 'm7.5 4.5 5.5 5.5-5.5 5.5',
  down: 'm4.5 7.5 5.5 5.5 5.5-5.5',
  more: 'M4.5 10h.1M10 10h.1M15.5 10h.1',
  plus: 'M10 4v12M4 10h12',
  play: 'M6 3.800v12.400L16 10z',
  pause: 'M6.5 4v12M13.5 4v12',
  copy: 'M7 7h9.500v9.500H7zM13 7V3.500H3.500V13H7',
  download: 'M10 3v9.500M6 9l4 4 4-4M3.5 16.500h13',
  upload: 'M10 13V3.500M6 7l4-4 4 4M3.5 16.500h13',
  trash: 'M4 5.500h12M8 5.500V3h4v2.500M5.5 5.500l.8 11.500h7.400l.8-11.5',
  tree: 'M4 4h5M7 10h9M7 16h9M4 4v12h3M4 10h3',
  table: 'M3 4h14v12H3zM3 8h14M8.5 8v8',
  plan: 'M3 3h14v14H3zM3 9h6M9 3v9M12.5 17v-5H17',
  cube: 'm10 2.5 6.5 3.700v7.600L10 17.500l-6.5-3.700V6.200zM3.7 6.3 10 10l6.3-3.700M10 10v7.3',
  parcel: 'M3 6.500h14V17H3zM3 6.500 5 3h10l2 3.500M10 3v3.500M7.5 10h5',
  cut: 'M3 13 10 17l7-4M3 9.5 10 5.500l7 4-7 4z',
  marker:
    'M10 17.500S4.5 12 4.5 8a5.5 5.5 0 0 1 11 0c0 4-5.5 9.5-5.5 9.500M10 6.300a1.8 1.8 0 1 0 0 3.6 1.8 1.8 0 0 0 0-3.6',
  heat: 'M8 11.600V4a2 2 0 1 1 4 0v7.600a3.6 3.6 0 1 1-4 0M10 8v6',
  fit: 'M3.5 7V3.500H7M13 3.500h3.500V7M16.5 13v3.500H13M7 16.500H3.500V13',
  fly: 'M3 10.2 17 3l-4.5 14-3-5.500z',
  check: 'm4 10.5 4 4.200L16 6',
  clock: 'M10 2.800a7.2 7.2 0 1 0 0 14.4 7.2 7.2 0 0 0 0-14.400M10 6v4.300l2.8 1.7',
  user: 'M10 3.500a3 3 0 1 0 0 6 3 3 0 0 0 0-6M3.8 17c.4-3.5 2.9-5 6.2-5s5.8 1.5 6.2 5',
  key: 'M6.5 7a3 3 0 1 0 0 6 3 3 0 0 0 0-6M9.5 10H17v3M14 10v2',
  info: 'M10 2.800a7.2 7.2 0 1 0 0 14.4 7.2 7.2 0 0 0 0-14.400M10 9.200V14M10 6.300v.1',
} as const

export type IconName = keyof typeof PATHS

export function Icon(props: { name: IconName; size?: number }) {
  const size = props.size ?? 18
  return (
    <svg className="icon" viewBox="0 0 20 20" width={size} height={size} aria-hidden="true">
      <path d={PATHS[props.name]} />
    </svg>
  )
}

export function Logo(props: { size?: number }) {
  const size = props.size ?? 24
  return (
    <svg viewBox="0 0 32 32" width={size} height={size} aria-hidden="true" className="logo">
      <path className="logo-body" d="M16 2 28 9v14l-12 7L4 23V9z" />
      <path className="logo-tick" d="m10.5 15.5 4.2 4.6 7-8.6" />
    </svg>
  )
}

/** The mark of "papers": a scalloped seal, the same everywhere. */
export function SealIcon(props: { size?: number }) {
  const size = props.size ?? 18
  return (
    <svg
      className="icon seal-icon"
      viewBox="0 0 20 20"
      width={size}
      height={size}
      aria-hidden="true"
    >
      <path d="M10 1.8 12 3.400l2.5-.2.7 2.4 2.2 1.3-.9 2.4.9 2.4-2.2 1.3-.7 2.4-2.5-.2-2 1.6-2-1.6-2.5.2-.7-2.4-2.2-1.3.9-2.4-.9-2.4 2.2-1.3.7-2.4 2.5.2z" />
      <path d="m7 9.5 2.2 2.2 3.9-4.4" />
    </svg>
  )
}
