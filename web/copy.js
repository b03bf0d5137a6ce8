// @ts-check
/** Makes the copy buttons work. */

const SHOWN_MS = 2_000

export function showCopyButtons() {
  for (const button of document.querySelectorAll('button[data-copy-button]')) {
    if (button instanceof HTMLButtonElement) button.hidden = false
  }
}

document.addEventListener('click', event => {
  const target = /** @type {Element | null} */ (event.target)
  const button = target?.closest('button[data-copy-button]')
  const code = button?.closest('.copy')?.querySelector('[data-copy]')
  if (button && code) void copy(button, code)
})

/** @param {Element} button @param {Element} code */
async function copy(button, code) {
  const label = button.firstChild
  try {
    await navigator.clipboard.writeText(code.textContent ?? '')
    if (label) label.nodeValue = 'Copied'
  } catch {
    // The clipboard needs HTTPS or loopback, and a permission: select the text, so that the reader's keys copy it.
    document.getSelection()?.selectAllChildren(code)
    if (label) label.nodeValue = 'Selected: press Ctrl+C'
  }
  setTimeout(() => {
    if (label) label.nodeValue = 'Copy'
  }, SHOWN_MS)
}
