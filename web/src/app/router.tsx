// The routes. Pages load on demand; everything but welcome and sign-in needs a session.
import {
  createRootRoute,
  createRoute,
  createRouter,
  lazyRouteComponent,
  Outlet,
  redirect,
  retainSearchParams,
} from '@tanstack/react-router'

import { queryClient, rightsQuery, sessionEnded, sessionQuery } from '../api/queries'
import { ProblemError } from '../api/problem'
import { RETURN_PATH } from '../lib/providers'
import { Failure } from '../ui/layout'
import { Toasts } from '../ui/toasts'
import { ConfirmIdentity } from './ConfirmIdentity'
import { NotFound } from './NotFound'
import { RETAINED, searchSchema } from './search'
import { Shell } from './Shell'

const rootRoute = createRootRoute({
  validateSearch: searchSchema,
  search: { middlewares: [retainSearchParams([...RETAINED])] },
  component: () => (
    <>
      <Outlet />
      <Toasts />
      <ConfirmIdentity />
    </>
  ),
  notFoundComponent: NotFound,
})

const welcomeRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: '/welcome',
  component: lazyRouteComponent(() => import('../routes/Welcome'), 'WelcomePage'),
})

const signInRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: '/sign-in',
  component: lazyRouteComponent(() => import('../routes/SignIn'), 'SignInPage'),
})

const signInReturnRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: RETURN_PATH,
  component: lazyRouteComponent(() => import('../routes/SignInReturn'), 'SignInReturnPage'),
})

const resetRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: '/reset',
  component: lazyRouteComponent(() => import('../routes/Reset'), 'ResetPage'),
})

const confirmEmailRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: '/confirm-email',
  component: lazyRouteComponent(() => import('../routes/Reset'), 'ConfirmEmailPage'),
})

const legalRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: '/legal/$document',
  component: lazyRouteComponent(() => import('../routes/Legal'), 'LegalPage'),
})

const withdrawRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: '/withdraw',
  component: lazyRouteComponent(() => import('../routes/Withdraw'), 'WithdrawPage'),
})

const requestsRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: '/requests',
  component: lazyRouteComponent(() => import('../routes/Requests'), 'RequestsPage'),
})

const shellRoute = createRoute({
  getParentRoute: () => rootRoute,
  id: 'shell',
  beforeLoad: async ({ location }) => {
    try {
      await queryClient.ensureQueryData(sessionQuery)
      await queryClient.ensureQueryData(rightsQuery)
    } catch (error) {
      if (ProblemError.of(error).status !== 401) throw error
      throw redirect({ to: '/sign-in', search: { next: location.href } })
    }
  },
  component: Shell,
  errorComponent: ({ error, reset }) => (
    <div className="page">
      <Failure
        error={error}
        retry={() => {
          reset()
          void router.invalidate()
        }}
      />
    </div>
  ),
})

const page = <const Path extends string>(
  path: Path,
  component: ReturnType<typeof lazyRouteComponent>,
) => createRoute({ getParentRoute: () => shellRoute, path, component })

const routeTree = rootRoute.addChildren([
  welcomeRoute,
  signInRoute,
  signInReturnRoute,
  resetRoute,
  confirmEmailRoute,
  legalRoute,
  withdrawRoute,
  requestsRoute,
  shellRoute.addChildren([
    page(
      '/',
      lazyRouteComponent(() => import('../routes/centre/CentrePage'), 'CentrePage'),
    ),
    page(
      '/policy',
      lazyRouteComponent(() => import('../routes/Policy'), 'PolicyPage'),
    ),
    page(
      '/alerts',
      lazyRouteComponent(() => import('../routes/Alerts'), 'AlertsPage'),
    ),
    page(
      '/devices',
      lazyRouteComponent(() => import('../routes/Devices'), 'DevicesPage'),
    ),
    page(
      '/devices/$id',
      lazyRouteComponent(() => import('../routes/Device'), 'DevicePage'),
    ),
    page(
      '/streams',
      lazyRouteComponent(() => import('../routes/streams/Streams'), 'StreamsPage'),
    ),
    page(
      '/imports',
      lazyRouteComponent(() => import('../routes/imports/Imports'), 'ImportsPage'),
    ),
    page(
      '/packages',
      lazyRouteComponent(() => import('../routes/Packages'), 'PackagesPage'),
    ),
    page(
      '/device-profiles',
      lazyRouteComponent(() => import('../routes/profiles/DeviceProfiles'), 'DeviceProfilesPage'),
    ),
    page(
      '/twins',
      lazyRouteComponent(() => import('../routes/Twins'), 'TwinsPage'),
    ),
    page(
      '/rules',
      lazyRouteComponent(() => import('../routes/Rules'), 'RulesPage'),
    ),
    page(
      '/routing',
      lazyRouteComponent(() => import('../routes/routing/Routing'), 'RoutingPage'),
    ),
    page(
      '/ledger',
      lazyRouteComponent(() => import('../routes/Ledger'), 'LedgerPage'),
    ),
    page(
      '/ledger-mail',
      lazyRouteComponent(() => import('../routes/LedgerMail'), 'LedgerMailPage'),
    ),
    page(
      '/promises',
      lazyRouteComponent(() => import('../routes/Promises'), 'PromisesPage'),
    ),
    page(
      '/activity',
      lazyRouteComponent(() => import('../routes/Activity'), 'ActivityPage'),
    ),
    page(
      '/customers',
      lazyRouteComponent(() => import('../routes/partners/Customers'), 'CustomersPage'),
    ),
    page(
      '/plans',
      lazyRouteComponent(() => import('../routes/partners/Plans'), 'PlansPage'),
    ),
    page(
      '/brand',
      lazyRouteComponent(() => import('../routes/partners/Brand'), 'BrandPage'),
    ),
    page(
      '/public-zones',
      lazyRouteComponent(() => import('../routes/PublicZones'), 'PublicZonesPage'),
    ),
    page(
      '/registers',
      lazyRouteComponent(() => import('../routes/Registers'), 'RegistersPage'),
    ),
    page(
      '/usage',
      lazyRouteComponent(() => import('../routes/Usage'), 'UsagePage'),
    ),
    page(
      '/operations',
      lazyRouteComponent(() => import('../routes/Operations'), 'OperationsPage'),
    ),
    page(
      '/incidents',
      lazyRouteComponent(() => import('../routes/Incidents'), 'IncidentsPage'),
    ),
    page(
      '/breaches',
      lazyRouteComponent(() => import('../routes/Breaches'), 'BreachesPage'),
    ),
    page(
      '/governance',
      lazyRouteComponent(() => import('../routes/governance/Governance'), 'GovernancePage'),
    ),
    page(
      '/support',
      lazyRouteComponent(() => import('../routes/Support'), 'SupportPage'),
    ),
    page(
      '/support-desk',
      lazyRouteComponent(() => import('../routes/SupportDesk'), 'SupportDeskPage'),
    ),
    page(
      '/access',
      lazyRouteComponent(() => import('../routes/access/Access'), 'AccessPage'),
    ),
    page(
      '/what-ends-when',
      lazyRouteComponent(() => import('../routes/WhatEndsWhen'), 'WhatEndsWhenPage'),
    ),
    page(
      '/destruction',
      lazyRouteComponent(() => import('../routes/Destruction'), 'DestructionPage'),
    ),
    page(
      '/settings',
      lazyRouteComponent(() => import('../routes/Settings'), 'SettingsPage'),
    ),
  ]),
])

export const router = createRouter({ routeTree, defaultPreload: 'intent' })

sessionEnded.handle = () => {
  const { pathname, href } = router.state.location
  if (pathname === '/sign-in' || pathname === RETURN_PATH) return
  queryClient.removeQueries({ queryKey: sessionQuery.queryKey })
  void router.navigate({ to: '/sign-in', search: { next: href } })
}

declare module '@tanstack/react-router' {
  interface Register {
    router: typeof router
  }
}
