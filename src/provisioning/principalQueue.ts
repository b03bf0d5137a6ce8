/** Runs one task at a time for each principal. */

export class PrincipalQueue {
  readonly #tasks = new Map<string, { name: string; work: Promise<unknown> }>()

  /** Runs a task after the current one of the principal. A call with the name of the last task shares its result. */
  run<T>(arn: string, name: string, run: () => Promise<T>): Promise<T> {
    const last = this.#tasks.get(arn)
    if (last?.name === name) return last.work as Promise<T>
    const work = last ? last.work.then(run, run) : run()
    const task = { name, work }
    this.#tasks.set(arn, task)
    const remove = () => {
      if (this.#tasks.get(arn) === task) this.#tasks.delete(arn)
    }
    work.then(remove, remove)
    return work
  }
}
