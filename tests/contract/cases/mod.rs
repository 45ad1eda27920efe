//! The cases, as functions over any cluster. Each is named in [`every_case`], which has them tested.

pub(crate) mod budgets;
pub(crate) mod evictions;
pub(crate) mod lease;
pub(crate) mod machines;
pub(crate) mod nodes;
pub(crate) mod observation;
pub(crate) mod pods;
pub(crate) mod records;

/// Calls a macro with the cases that all share one cluster, by the part that they stand in.
macro_rules! every_case {
    ($with:ident) => {
        $with! {
            evictions: [
                an_eviction_reaches_one_pod_and_no_other,
                a_pod_that_was_replaced_is_not_the_one_that_was_meant,
                without_a_precondition_the_namesake_goes,
                a_dry_run_changes_nothing,
                a_finalizer_holds_a_pod_until_it_is_taken_away,
                what_has_finished_goes_at_once,
                a_malformed_eviction_is_refused,
            ]
            budgets: [
                a_budget_allows_one_and_then_none,
                a_budget_that_allows_none_blocks_and_nothing_changes,
                two_budgets_are_one_too_many,
                pods_that_do_not_run_are_not_protected,
                an_unready_pod_may_go_while_enough_are_healthy,
                an_eviction_of_a_namesake_draws_on_the_budget,
                shares_are_counted_over_owners_and_a_pod_without_one_is_none,
                a_budget_without_labels_covers_the_whole_namespace,
            ]
            pods: [
                a_pod_of_the_plugin_is_deleted_by_its_uid,
                a_list_has_what_is_bound_to_the_node_and_says_how_it_is,
                a_node_without_pods_has_an_empty_list,
            ]
            nodes: [
                our_taint_comes_and_goes_and_those_of_others_stay,
                clients_are_paused_and_go_on_as_the_record_says,
                of_many_that_taint_the_same_version_one_succeeds,
                what_is_not_there_is_not_found,
                a_node_that_is_made_again_is_another,
            ]
            records: [
                both_sides_swap_on_one_version,
                of_many_that_claim_the_same_version_one_succeeds,
                what_an_operation_changes_is_fixed_and_its_epoch_never_goes_back,
                a_status_of_the_largest_node_is_stored_and_one_beyond_is_refused,
                the_largest_operation_is_stored_and_one_beyond_is_refused,
                what_is_for_people_is_cut_to_its_bounds,
                what_nothing_changes_is_not_written,
                a_record_goes_with_its_node,
                a_record_of_a_node_that_is_not_there_is_collected,
            ]
            lease: [
                the_lease_is_taken_by_one_and_never_made_anew_by_its_holder,
                of_many_that_take_the_lease_one_succeeds,
            ]
            observation: [
                the_cache_sees_a_pod_that_is_deleted_and_made_again,
                the_cache_sees_a_node_that_is_deleted_and_made_again,
                what_was_just_written_is_seen_freshly,
            ]
            machines: [
                a_plugin_comes_back_under_our_taint_if_it_tolerates_it,
                a_plugin_that_does_not_tolerate_our_taint_stays_away,
                a_plugin_that_is_placed_by_its_label_is_away_while_that_is_paused,
                nobody_is_scheduled_under_our_taint,
                a_pod_waits_until_the_plugin_was_replaced_after_the_board_had_changed,
                a_service_gives_way_one_pod_at_a_time,
                pods_of_a_node_that_is_gone_are_collected,
            ]
        }
    };
}
