// The colours of the scene: an architectural model in paper and card, quiet in light and in dark.
// Only markers in an abnormal state carry colour, and theirs never change with a brand.
import type { MarkerState, Theme } from './types'

export type Role =
  | 'wall' | 'slab' | 'roof' | 'glass' | 'frame' | 'furniture' | 'machine' | 'stair' | 'column'
  | 'timber' | 'sensor' | 'room' | 'other'

export type Palette = {
  background: string
  edge: string
  edgeOpacity: number
  cut: string
  accent: string
  text: string
  textMuted: string
  pill: string
  pillLine: string
  sky: string
  bounce: string
  sun: number
  ambient: number
  shadow: number
  noValue: string
  roles: Record<Role, string>
  glassOpacity: number
  states: Record<MarkerState, string>
}

const LIGHT: Palette = {
  background: '#dde0d9',
  edge: '#2d3733',
  edgeOpacity: 0.34,
  cut: '#4b5652',
  accent: '#0f6fb0',
  text: '#1a211f',
  textMuted: '#56615c',
  pill: '#fdfdfb',
  pillLine: '#aab1a6',
  sky: '#ffffff',
  bounce: '#b9bdb4',
  sun: 2.1,
  ambient: 1.45,
  shadow: 0.2,
  noValue: '#c4c9c1',
  roles: {
    wall: '#f1f0ea', slab: '#e3e2da', roof: '#e8e6de', glass: '#9fbcc2', frame: '#9aa39e',
    furniture: '#d8d0c1', machine: '#bfc7c4', stair: '#d9d7ce', column: '#e9e7df',
    timber: '#cfc3ae', sensor: '#ffffff', room: '#eceae3', other: '#dddbd3',
  },
  glassOpacity: 0.34,
  states: {
    normal: '#2f3c38', critical: '#b3122b', high: '#ad4a00', medium: '#806000', low: '#3f58a6',
    stale: '#6f5a86', offline: '#5f6a65', simulated: '#6a5135',
  },
}

const DARK: Palette = {
  background: '#111716',
  edge: '#b7c9c3',
  edgeOpacity: 0.3,
  cut: '#7f908a',
  accent: '#6cb8ee',
  text: '#e2e8e4',
  textMuted: '#98a59f',
  pill: '#1b2121',
  pillLine: '#4a5655',
  sky: '#cfe0dc',
  bounce: '#2c3635',
  sun: 2.3,
  ambient: 2.1,
  shadow: 0.45,
  noValue: '#2a3331',
  roles: {
    wall: '#4a5653', slab: '#38423f', roof: '#404a47', glass: '#7fb0b2', frame: '#6d7c78',
    furniture: '#5a5a50', machine: '#6e7d79', stair: '#47524f', column: '#52605c',
    timber: '#635d4f', sensor: '#b9c9c4', room: '#45514e', other: '#4a5451',
  },
  glassOpacity: 0.22,
  states: {
    normal: '#d5dfda', critical: '#ff7b80', high: '#f79a55', medium: '#e0bf4f', low: '#98adf2',
    stale: '#b9a3d4', offline: '#8b9792', simulated: '#cfb28a',
  },
}

export const palettes: Record<Theme, Palette> = { light: LIGHT, dark: DARK }

const ROLES: [RegExp, Role][] = [
  [/^Ifc(Wall|CurtainWall)/, 'wall'],
  [/^Ifc(Slab|Footing|Covering|Ramp)/, 'slab'],
  [/^IfcRoof/, 'roof'],
  [/^Ifc(Window|Door|Plate)/, 'frame'],
  [/^Ifc(Furni|SystemFurniture)/, 'furniture'],
  [/^IfcStair/, 'stair'],
  [/^Ifc(Column|Beam|Pile)/, 'column'],
  [/^Ifc(Member|Railing|ShadingDevice)/, 'timber'],
  [/^Ifc(Sensor|Alarm|Controller|Actuator)/, 'sensor'],
  [
    /^Ifc(Chiller|UnitaryEquipment|Pump|Fan|Boiler|Flow|Duct|Pipe|Energy|Electric|Solar|Distribution|AirTerminal|Tank|Valve|Cable|Light|Sanitary|CoolingTower|Compressor|HeatExchanger|SpaceHeater)/,
    'machine',
  ],
]

export function roleOf(ifcClass: string, isGlass: boolean): Role {
  if (isGlass) return 'glass'
  return ROLES.find(([pattern]) => pattern.test(ifcClass))?.[1] ?? 'other'
}
