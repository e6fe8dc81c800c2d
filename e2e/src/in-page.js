// Runs in every page before its own scripts: makes violations of the content security policy
// heard, and counts what WebGL draws.
addEventListener('securitypolicyviolation', (event) => {
  console.error(`CSP violation: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`)
})

/** Frames that the scene drew, and the triangles of the newest one. */
window.drawn = { frames: 0, triangles: 0, pending: 0, lastAt: 0 }
{
  const { drawn } = window
  const gl = WebGL2RenderingContext.prototype
  const wrap = (name, count) => {
    const original = gl[name]
    gl[name] = function (...args) {
      count.apply(this, args)
      return original.apply(this, args)
    }
  }
  const ofScene = (context) => context.canvas.classList?.contains('scene-canvas') === true
  wrap('clear', function () {
    if (!ofScene(this)) return
    drawn.frames += 1
    drawn.triangles = drawn.pending
    drawn.pending = 0
    drawn.lastAt = performance.now()
  })
  const add = (mode, vertices, instances) => {
    if (mode === gl.TRIANGLES) drawn.pending += (vertices / 3) * instances
  }
  wrap('drawElements', (mode, count) => add(mode, count, 1))
  wrap('drawArrays', (mode, _, count) => add(mode, count, 1))
  wrap('drawElementsInstanced', (mode, count, _, __, instances) => add(mode, count, instances))
  wrap('drawArraysInstanced', (mode, _, count, instances) => add(mode, count, instances))
}
