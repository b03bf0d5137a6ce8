// uPlot.js is a script of its own and defines this.
declare const uPlot: typeof import('uplot')
type UPlot = import('uplot')
type UPlotOptions = import('uplot').Options

interface Window {
  trustedTypes?: {
    createPolicy(name: string, rules: { createHTML(text: string): string }): { createHTML(text: string): string }
  }
}
interface ParentNode {
  /** Moves a node without a loss of focus, selection and scroll position. Not in all browsers. */
  moveBefore?(node: Node, before: Node | null): void
}
