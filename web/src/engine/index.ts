// The 3D engine: raw three.js behind one factory. See types.ts for its interface.
export { createScene } from './scene'
export type * from './types'
